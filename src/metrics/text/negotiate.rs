//! Which format of the metrics a scraper gets: what its Accept field likes better (RFC 9110, section 12.5.1). Pure.

/// Whether the older text format is wanted rather than OpenMetrics, which is what everybody gets who does not care.
pub fn wants_classic(accept: &str) -> bool {
    let of = |kind: &str, subtype: &str| quality(accept, kind, subtype).unwrap_or(0);
    of("text", "plain") > of("application", "openmetrics-text")
}

/// Thousandths of the quality that a media type has; the most specific range that matches says it, and of several the
/// highest counts: scrapers list each version that they know.
fn quality(accept: &str, kind: &str, subtype: &str) -> Option<u32> {
    let specificity = |range: &str| match range.split_once('/') {
        Some(("*", "*")) => Some(0),
        Some((k, "*")) if k.eq_ignore_ascii_case(kind) => Some(1),
        Some((k, s)) if k.eq_ignore_ascii_case(kind) && s.eq_ignore_ascii_case(subtype) => Some(2),
        _ => None,
    };
    let ranges = accept.split(',').filter_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        let specificity = specificity(parts.next()?)?;
        let q = parts.find_map(|part| {
            let (name, value) = part.split_once('=')?;
            name.trim().eq_ignore_ascii_case("q").then(|| thousandths(value.trim()))
        });
        Some((specificity, q.unwrap_or(Some(1000)).unwrap_or(0)))
    });
    ranges.max().map(|(_, quality)| quality)
}

/// `0.5` as 500. What is no quality is none.
fn thousandths(text: &str) -> Option<u32> {
    let quality: f32 = text.parse().ok().filter(|quality| (0.0..=1.0).contains(quality))?;
    Some((quality * 1000.0).round() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_the_one_that_is_liked_better_and_openmetrics_when_nobody_cares() {
        for (accept, classic) in [
            ("", false),
            ("*/*", false),
            ("application/json", false),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", false),
            ("text/plain", true),
            ("text/plain;version=0.0.4", true),
            ("Text/Plain; version=0.0.4; charset=utf-8", true),
            ("text/*", true),
            ("text/plain;version=0.0.4;q=1,*/*;q=0.1", true),
            // Prometheus 2 and 3, and 3 with the protocols turned round.
            (
                "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                false,
            ),
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                false,
            ),
            (
                "text/plain;version=0.0.4;q=0.5,application/openmetrics-text;version=1.0.0;q=0.4,*/*;q=0.1",
                true,
            ),
            ("application/openmetrics-text; version=1.0.0; charset=utf-8", false),
            ("application/openmetrics-text;q=0, */*", true),
            ("text/plain;q=0, application/openmetrics-text;q=0", false),
            ("text/plain; Q=0.9 , application/openmetrics-text ; q = 0.8", true),
            ("text/plain;q=2, application/openmetrics-text;q=0.1", false),
            ("text/plain;q=0.001", true),
            (";;,=,/", false),
        ] {
            assert_eq!(wants_classic(accept), classic, "{accept}");
        }
    }
}

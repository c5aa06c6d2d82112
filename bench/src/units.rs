//! Numbers as people read them: thousands separated, three digits that matter, units that fit the size.
//!
//! *Not here*: what has such a number (`results`), tables of them (`report`).

/// What stands where there is no number.
pub(crate) const NO_NUMBER: &str = "–";

/// 1234567.8 as 1,234,568.
pub(crate) fn count(value: f64) -> String {
    decimals(value, 0)
}

/// With this many digits behind the point, thousands separated.
pub(crate) fn decimals(value: f64, digits: usize) -> String {
    if !value.is_finite() {
        return NO_NUMBER.into();
    }
    let text = format!("{:.digits$}", value.abs());
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let mut out = String::new();
    // -0.0, and what rounds to it, has no sign.
    if value < 0.0 && text.contains(|c: char| ('1'..='9').contains(&c)) {
        out.push('-');
    }
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    if !fraction.is_empty() {
        out.push('.');
        out.push_str(fraction);
    }
    out
}

/// Three digits that matter; all of them from 100 on.
pub(crate) fn plain(value: f64) -> String {
    match value.abs() {
        size if size >= 99.95 || size.fract() == 0.0 => decimals(value, 0),
        size if size >= 9.995 => decimals(value, 1),
        size if size >= 0.0995 => decimals(value, 2),
        size if size >= 0.0005 => decimals(value, 3),
        size if size == 0.0 || !size.is_finite() => decimals(value, 0),
        _ => format!("{value:.1e}"),
    }
}

/// A number with its unit: "9,868/s", "1.42 GiB", "0.85 ms", "15,000".
pub(crate) fn human(value: f64, unit: &str) -> String {
    if !value.is_finite() {
        return NO_NUMBER.into();
    }
    match unit {
        "" => plain(value),
        "yes/no" => (if value == 0.0 { "no" } else { "yes" }).into(),
        "B" => bytes(value),
        "%" => format!("{} %", decimals(value, usize::from(value.abs() < 99.95))),
        "ms" if value.abs() >= 10_000.0 => format!("{} s", plain(value / 1000.0)),
        "ms" if value.fract() != 0.0 && value.abs() >= 0.01 && value.abs() < 99.995 => {
            format!("{} ms", decimals(value, 2))
        }
        unit if unit.starts_with('/') => format!("{}{unit}", plain(value)),
        unit => format!("{} {unit}", plain(value)),
    }
}

/// Bytes up to 10,000 as they are, in powers of 1,024 above.
fn bytes(value: f64) -> String {
    let mut value = value;
    if value.abs() < 9_999.5 {
        return format!("{} B", plain(value));
    }
    let mut name = "KiB";
    value /= 1024.0;
    for larger in ["MiB", "GiB", "TiB"] {
        if value.abs() < 1023.5 {
            break;
        }
        (value, name) = (value / 1024.0, larger);
    }
    format!("{} {name}", plain(value))
}

/// A duration in seconds: "0.3 s", "42 s", "3 min 05 s".
#[allow(clippy::cast_sign_loss)] // made positive
pub(crate) fn duration(seconds: f64) -> String {
    let seconds = seconds.max(0.0);
    if seconds < 9.95 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    if whole <= 60 {
        return format!("{whole} s");
    }
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, m, s) => format!("{m} min {s:02} s"),
        (h, m, _) => format!("{h} h {m:02} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_their_thousands_apart() {
        for (value, unit, text) in [
            (1_234_567.8, "", "1,234,568"),
            (999.0, "", "999"),
            (-1000.0, "", "-1,000"),
            (0.0, "", "0"),
            (-0.0, "", "0"),
            (15.25, "", "15.2"),
            (0.123_4, "×", "0.12 ×"),
            (0.001_23, "", "0.001"),
            (0.000_001, "", "1.0e-6"),
            (9868.4, "/s", "9,868/s"),
            (122.4, "B", "122 B"),
            (9999.0, "B", "9,999 B"),
            (65_536.0, "B", "64 KiB"),
            (1.5 * 1_073_741_824.0, "B", "1.50 GiB"),
            (0.85, "ms", "0.85 ms"),
            (5.0, "ms", "5 ms"),
            (1234.0, "ms", "1,234 ms"),
            (61_000.0, "ms", "61 s"),
            (12.345, "%", "12.3 %"),
            (1.0, "yes/no", "yes"),
            (f64::NAN, "ms", "–"),
            (f64::INFINITY, "B", "–"),
        ] {
            assert_eq!(human(value, unit), text, "{value} {unit}");
        }
    }

    #[test]
    fn durations_are_rounded_to_what_a_waiting_person_needs() {
        for (seconds, text) in [
            (0.31, "0.3 s"),
            (41.6, "42 s"),
            (60.0, "60 s"),
            (185.0, "3 min 05 s"),
            (3725.0, "1 h 02 min"),
            (-1.0, "0.0 s"),
        ] {
            assert_eq!(duration(seconds), text);
        }
    }
}

//! Numbers with a fraction on the command line: each kind has a range, and what lies outside it (or is no number) is
//! told before anything runs.
//!
//! Behind it every such number is finite, and a duration that can be made of it. *Not here*: what two options must be
//! to each other (`check` of each subcommand).

use std::ops::RangeInclusive;

use crate::units::count;

/// Eleven days: longer than any run, and far from where a duration or a point in time overflows.
const SECONDS_MAX: f64 = 1_000_000.0;
/// A quarter of an hour: nobody waits longer for a message.
const MILLISECONDS_MAX: f64 = 1_000_000.0;
/// One in a quarter of an hour; the time between two is a duration.
const RATE_MIN: f64 = 0.001;
/// Above what one publisher or one gateway does on any machine.
const RATE_MAX: f64 = 1_000_000.0;
/// Ten times as much as there is: a bound above it is none.
const PERCENT_MAX: f64 = 1_000.0;
/// Rates closer than that are one rate, and a search between them would not end.
const PRECISION_MIN: f64 = 0.01;
/// A climb in smaller steps does not arrive.
const FACTOR_MIN: f64 = 1.01;
/// Larger ones say nothing.
const FACTOR_MAX: f64 = 1_000.0;

/// Seconds, none included.
pub(crate) fn seconds(text: &str) -> Result<f64, String> {
    within(text, 0.0..=SECONDS_MAX, "seconds")
}

/// Milliseconds, none included.
pub(crate) fn milliseconds(text: &str) -> Result<f64, String> {
    within(text, 0.0..=MILLISECONDS_MAX, "milliseconds")
}

/// So many a second.
pub(crate) fn rate(text: &str) -> Result<f64, String> {
    within(text, RATE_MIN..=RATE_MAX, "a second")
}

/// So many a second, or none.
pub(crate) fn rate_or_none(text: &str) -> Result<f64, String> {
    within(text, 0.0..=RATE_MAX, "a second")
}

/// Percent that something may be off, none included.
pub(crate) fn percent(text: &str) -> Result<f64, String> {
    within(text, 0.0..=PERCENT_MAX, "percent")
}

/// Percent that two rates may be apart.
pub(crate) fn precision(text: &str) -> Result<f64, String> {
    within(text, PRECISION_MIN..=PERCENT_MAX, "percent")
}

/// How many times as much the next one is.
pub(crate) fn factor(text: &str) -> Result<f64, String> {
    within(text, FACTOR_MIN..=FACTOR_MAX, "times")
}

/// How many times as much something may be.
pub(crate) fn ratio(text: &str) -> Result<f64, String> {
    within(text, 0.0..=FACTOR_MAX, "times")
}

fn within(text: &str, range: RangeInclusive<f64>, unit: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| format!("it takes {} to {} {unit}", range.start(), count(*range.end())))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Parser = fn(&str) -> Result<f64, String>;
    const ALL: [Parser; 8] = [seconds, milliseconds, rate, rate_or_none, percent, precision, factor, ratio];

    #[test]
    fn what_is_no_number_not_finite_negative_or_huge_is_refused_with_the_range() {
        for parser in ALL {
            for text in ["nan", "inf", "-inf", "-1", "1e7", "1e300", "", "ten", "1,5"] {
                let said = parser(text).unwrap_err();
                assert!(said.starts_with("it takes ") && said.contains(" to 1,000"), "{text}: {said}");
            }
        }
        assert_eq!(rate("1e-300").unwrap_err(), "it takes 0.001 to 1,000,000 a second");
        assert_eq!(seconds("-0.5").unwrap_err(), "it takes 0 to 1,000,000 seconds");
        assert!(factor("1").is_err() && precision("0").is_err() && rate("0").is_err());
    }

    #[test]
    fn the_ends_of_a_range_are_in_it_and_can_be_durations() {
        for text in ["0", "1000000"] {
            assert!(seconds(text).is_ok() && milliseconds(text).is_ok() && rate_or_none(text).is_ok());
        }
        for text in ["0.001", "1000000"] {
            let apart = 1.0 / rate(text).unwrap();
            assert!(std::time::Duration::try_from_secs_f64(apart).is_ok());
        }
        assert!(
            percent("0").is_ok()
                && precision("0.01").is_ok()
                && factor("1.01").is_ok()
                && ratio("1e3").is_ok()
        );
    }
}

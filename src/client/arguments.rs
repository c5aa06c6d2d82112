//! Values as people type them: times with a unit, ids, rates. Pure.

use std::str::FromStr;

use fanfare_core::push::id::PushId;
use fanfare_core::push::rate::{BadRate, Rate};
use fanfare_core::push::terms;

/// A time: `10s`, `250ms`, `1.5m`, `2h`, `1d`; a number alone is seconds.
pub fn seconds(text: &str) -> Result<f64, String> {
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let unit_s = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return Err("a time is a number with ms, s, m, h or d, such as 10s".into()),
    };
    match number.parse::<f64>() {
        Ok(number) if number.is_finite() && number >= 0.0 => Ok(number * unit_s),
        _ => Err("a time is a number with ms, s, m, h or d, such as 10s".into()),
    }
}

/// `--rate`
pub fn rate(text: &str) -> Result<Rate, String> {
    text.parse().map_err(|why: BadRate| why.to_string())
}

/// `--ramp`
pub fn ramp_s(text: &str) -> Result<f64, String> {
    let s = seconds(text)?;
    terms::ramp(s).map(|_| s).map_err(|_| "a ramp takes at most a day".into())
}

/// `--expires-in`
pub fn expires_in_s(text: &str) -> Result<f64, String> {
    let s = seconds(text)?;
    terms::expires_in(s).map(|_| s).map_err(|_| "a push expires within seven days, and not at once".into())
}

/// `--interval`: long enough for a rate, short enough for somebody who watches.
pub fn interval_s(text: &str) -> Result<f64, String> {
    let in_range = |s: &f64| (0.1..=60.0).contains(s);
    seconds(text)
        .and_then(|s| Some(s).filter(in_range).ok_or_else(|| "an interval is from 100ms to 60s".into()))
}

/// An idempotency key, or the name of a push.
pub fn id(text: &str) -> Result<String, String> {
    PushId::new(text).map(|_| text.to_owned()).map_err(|why| why.to_string())
}

/// A pace, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaceArgument {
    /// So many devices a second.
    Rate(Rate),
    /// As fast as it goes.
    Unpaced,
}

impl FromStr for PaceArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self::Unpaced),
            _ => rate(text).map(Self::Rate).map_err(|why| format!("{why}, or `none`")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_time_has_a_unit_and_a_bare_number_is_seconds() {
        for (text, s) in
            [("10s", 10.0), ("10", 10.0), ("250ms", 0.25), ("1.5m", 90.0), ("2min", 120.0), ("1h", 3600.0)]
        {
            assert_eq!(seconds(text), Ok(s), "{text}");
        }
        for wrong in ["", "s", "-1s", "10x", "1e400", "inf", "nan", "10 s", "1s1"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_have_the_bounds_of_what_they_are_for() {
        assert_eq!((ramp_s("0"), ramp_s("1d")), (Ok(0.0), Ok(86_400.0)));
        assert!(ramp_s("86401").is_err());
        assert_eq!(expires_in_s("7d"), Ok(604_800.0));
        assert!(expires_in_s("0").is_err() && expires_in_s("8d").is_err());
        assert_eq!(interval_s("500ms"), Ok(0.5));
        assert!(interval_s("10ms").is_err() && interval_s("2m").is_err());
    }

    #[test]
    fn an_id_is_short_and_safe_in_a_path() {
        assert_eq!(id("release-7:a.b_c"), Ok("release-7:a.b_c".to_owned()));
        for wrong in ["", "a/b", "a b", "é", &"x".repeat(65)] {
            assert!(id(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_pace_is_a_rate_or_none() {
        assert_eq!("none".parse(), Ok(PaceArgument::Unpaced));
        assert_eq!("800".parse(), Ok(PaceArgument::Rate("800".parse().expect("a rate"))));
        assert!("fast".parse::<PaceArgument>().is_err_and(|why| why.contains("`none`")));
    }

    proptest! {
        #[test]
        fn any_text_is_a_time_or_not(text in "\\PC{0,12}") {
            if let Ok(s) = seconds(&text) {
                prop_assert!(s >= 0.0);
            }
        }
    }
}

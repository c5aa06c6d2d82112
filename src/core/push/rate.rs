//! Devices per second.

use std::fmt;
use std::str::FromStr;

/// Thousandths of a device in one device.
const MILLI: u64 = 1000;

/// A pace: devices per second, from [`Rate::MIN`] to [`Rate::MAX`], kept in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate(u64);

/// A number that is no pace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadRate;

impl fmt::Display for BadRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a rate is from {} to {} devices per second", Rate::MIN, Rate::MAX)
    }
}

impl Rate {
    /// One device in ten seconds.
    pub const MIN: Self = Self(100);
    /// More than a host sends.
    pub const MAX: Self = Self(10_000_000 * MILLI);

    /// So many devices per second.
    pub fn per_second(devices: f64) -> Result<Self, BadRate> {
        let milli = devices * MILLI as f64;
        // Not a number is in no range.
        if (Self::MIN.0 as f64..=Self::MAX.0 as f64).contains(&milli) {
            Ok(Self(milli.round() as u64))
        } else {
            Err(BadRate)
        }
    }

    /// Thousandths of a device per second.
    pub fn milli(self) -> u64 {
        self.0
    }

    /// Devices per second.
    pub fn as_f64(self) -> f64 {
        self.0 as f64 / MILLI as f64
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.as_f64())
    }
}

impl FromStr for Rate {
    type Err = BadRate;

    fn from_str(text: &str) -> Result<Self, BadRate> {
        text.parse().map_err(|_| BadRate).and_then(Self::per_second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_within_its_bounds() {
        assert_eq!(Rate::per_second(500.0).map(Rate::milli), Ok(500_000));
        assert_eq!("0.1".parse(), Ok(Rate::MIN));
        assert_eq!("10000000".parse(), Ok(Rate::MAX));
        for wrong in ["", "0", "0.09", "10000001", "-1", "nan", "inf", "1/s", "1e300"] {
            assert_eq!(wrong.parse::<Rate>(), Err(BadRate), "{wrong}");
        }
        assert_eq!("12.5".parse::<Rate>().map(|rate| rate.to_string()), Ok("12.5".to_owned()));
    }
}

//! Pauses between attempts: exponential, jittered, and shorter where a try is cheap. Pure.
//!
//! Every gateway of a fleet loses its Redis at the same instant. Each pause is drawn from the upper half of a range
//! that doubles, so that they do not come back in step and the first pause is still a short one. *Not here*: what
//! failed and what it says about the server (`redis`).

use std::time::Duration;

use fanfare_core::limits::{
    REDIS_BACKOFF_ABSENT_MAX, REDIS_BACKOFF_MAX, REDIS_BACKOFF_MIN, REDIS_WELL_AFTER,
};

/// What a failed attempt cost the server, and so how soon the next one may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryPace {
    /// Nothing answered, or the stream broke: up to [`REDIS_BACKOFF_ABSENT_MAX`]. The requirement behind it: delivery
    /// resumes within a second of the server's return, however long it was away.
    Absent,
    /// The server answered and said no, or nonsense: up to [`REDIS_BACKOFF_MAX`]. Only a person changes that, and
    /// each try takes the server a handshake and a line in its log.
    Refused,
}

/// The pauses of one session.
#[derive(Debug)]
pub struct Backoff {
    failures: u32,
    random: u64,
}

impl Backoff {
    /// At the first, shortest pause. Sessions with different seeds draw different pauses.
    pub fn new(seed: u64) -> Self {
        Self { failures: 0, random: seed }
    }

    /// The pause before the next attempt.
    pub fn pause(&mut self, pace: RetryPace) -> Duration {
        let longest = match pace {
            RetryPace::Absent => REDIS_BACKOFF_ABSENT_MAX,
            RetryPace::Refused => REDIS_BACKOFF_MAX,
        };
        let upper = (REDIS_BACKOFF_MIN * 2).saturating_mul(1 << self.failures.min(16)).min(longest);
        self.failures = self.failures.saturating_add(1);
        upper / 2 + (upper / 2).mul_f64(self.fraction())
    }

    /// A session has ended that stood this long. One that stood for [`REDIS_WELL_AFTER`] starts the pauses over; a
    /// server that drops everybody at once does not.
    pub fn stood(&mut self, long: Duration) {
        if long >= REDIS_WELL_AFTER {
            self.failures = 0;
        }
    }

    /// Uniform in [0, 1), by `SplitMix64` (Steele, Lea, Flood 2014).
    fn fraction(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    proptest! {
        #[test]
        fn pauses_double_from_100_ms_to_5_s_and_stay_there(seed in any::<u64>()) {
            let mut backoff = Backoff::new(seed);
            for upper in [200, 400, 800, 1600, 3200, 5000, 5000, 5000] {
                let pause = backoff.pause(RetryPace::Refused);
                prop_assert!((ms(upper / 2)..=ms(upper)).contains(&pause), "{pause:?} of {upper} ms");
            }
            for _ in 0..100 {
                prop_assert!(backoff.pause(RetryPace::Refused) <= REDIS_BACKOFF_MAX);
            }
        }

        #[test]
        fn an_absent_server_is_tried_again_within_half_a_second_however_long_it_is_away(
            seed in any::<u64>(),
            failures in 0..100,
        ) {
            let mut backoff = Backoff::new(seed);
            for _ in 0..failures {
                backoff.pause(RetryPace::Refused);
            }
            prop_assert!(backoff.pause(RetryPace::Absent) <= ms(500));
        }
    }

    #[test]
    fn only_a_session_that_stood_for_a_while_starts_the_pauses_over() {
        let mut backoff = Backoff::new(1);
        for _ in 0..8 {
            backoff.pause(RetryPace::Refused);
        }
        backoff.stood(ms(4999));
        assert!(backoff.pause(RetryPace::Refused) >= ms(2500));
        backoff.stood(ms(5000));
        assert!(backoff.pause(RetryPace::Refused) <= ms(200));
    }

    #[test]
    fn gateways_that_fail_together_do_not_come_back_together() {
        let mut pauses: Vec<_> = (0..100).map(|seed| Backoff::new(seed).pause(RetryPace::Absent)).collect();
        pauses.sort_unstable();
        pauses.dedup();
        assert!(pauses.len() > 95 && pauses[90] > pauses[10] + ms(50), "{pauses:?}");
    }
}

//! Which rate comes next: what has held and what has failed, nothing else.

/// The rates of a ladder. Upwards by a factor until one fails; then halfway, on a logarithmic scale, between the
/// highest that held and the lowest that failed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Climb {
    from: f64,
    to: f64,
    factor: f64,
    /// Held and failed are close enough when their quotient is at most this.
    close: f64,
    held: Option<f64>,
    failed: Option<f64>,
}

impl Climb {
    /// `factor` above 1, `precision` a share above 0, `to` at least `from`.
    pub(crate) fn new(from: f64, to: f64, factor: f64, precision: f64) -> Self {
        Self { from, to, factor, close: 1.0 + precision, held: None, failed: None }
    }

    /// The rate of the next rung; `None` when the answer is known.
    pub(crate) fn next(&self) -> Option<f64> {
        let rate = match (self.held, self.failed) {
            (None, None) => self.from,
            (None, Some(_)) => return None,
            (Some(held), None) if held >= self.to => return None,
            (Some(held), None) => (held * self.factor).min(self.to),
            (Some(held), Some(failed)) if failed / held <= self.close => return None,
            (Some(held), Some(failed)) => (held * failed).sqrt(),
        };
        Some(whole(rate, self.held, self.failed))
    }

    /// What became of a rung.
    pub(crate) fn take(&mut self, rate: f64, held: bool) {
        if held {
            self.held = Some(self.held.map_or(rate, |best| best.max(rate)));
        } else {
            self.failed = Some(self.failed.map_or(rate, |worst| worst.min(rate)));
        }
    }

    /// The highest rate that held.
    pub(crate) fn held(&self) -> Option<f64> {
        self.held
    }

    /// The lowest rate that failed.
    pub(crate) fn failed(&self) -> Option<f64> {
        self.failed
    }
}

/// A rate that a person can type again: rounded, when that keeps it between its neighbours.
fn whole(rate: f64, held: Option<f64>, failed: Option<f64>) -> f64 {
    let rounded = rate.round();
    let between = held.is_none_or(|held| rounded > held) && failed.is_none_or(|failed| rounded < failed);
    if rate >= 10.0 && between && held.is_some() { rounded } else { rate }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All rungs against a server that holds rates up to a limit.
    fn rungs(mut climb: Climb, limit: f64) -> (Vec<f64>, Climb) {
        let mut rates = Vec::new();
        while let Some(rate) = climb.next() {
            rates.push(rate);
            assert!(rates.len() < 200, "{rates:?}");
            climb.take(rate, rate <= limit);
        }
        (rates, climb)
    }

    #[test]
    fn it_climbs_by_the_factor_and_then_closes_in_on_the_limit() {
        let (rates, climb) = rungs(Climb::new(50.0, 10_000.0, 2.0, 0.05), 730.0);
        assert_eq!(rates[..5], [50.0, 100.0, 200.0, 400.0, 800.0]);
        let (held, failed) = (climb.held().unwrap(), climb.failed().unwrap());
        assert!(held <= 730.0 && failed > 730.0 && failed / held <= 1.05, "{held} {failed}");
        assert!(rates.len() <= 10, "{rates:?}");
    }

    #[test]
    fn every_limit_is_found_to_the_precision() {
        for limit in (51..5_000).step_by(37) {
            let limit = f64::from(limit) * 1.003;
            let (_, climb) = rungs(Climb::new(50.0, 10_000.0, 1.5, 0.02), limit);
            let (held, failed) = (climb.held().unwrap(), climb.failed().unwrap());
            assert!(held <= limit && limit < failed && failed / held <= 1.02, "{limit}: {held} {failed}");
        }
    }

    #[test]
    fn a_server_that_holds_everything_is_asked_for_the_last_rate_once() {
        let (rates, climb) = rungs(Climb::new(100.0, 1_000.0, 3.0, 0.05), f64::INFINITY);
        assert_eq!(rates, [100.0, 300.0, 900.0, 1_000.0]);
        assert_eq!((climb.held(), climb.failed()), (Some(1_000.0), None));
    }

    #[test]
    fn a_first_rung_that_fails_is_the_only_one() {
        let (rates, climb) = rungs(Climb::new(100.0, 1_000.0, 2.0, 0.05), 99.0);
        assert_eq!((rates, climb.held(), climb.failed()), (vec![100.0], None, Some(100.0)));
    }

    #[test]
    fn small_rates_are_not_rounded_onto_their_neighbours() {
        let (rates, climb) = rungs(Climb::new(1.0, 20.0, 1.5, 0.01), 12.3);
        assert!(rates.windows(2).all(|pair| pair[0].to_bits() != pair[1].to_bits()), "{rates:?}");
        assert!(climb.failed().unwrap() / climb.held().unwrap() <= 1.01);
    }
}

//! Answers that take the thread long to make: the list of pushes, the metrics, the shards.
//!
//! Whoever asks gets one that was made after it asked, and all who wait get the same one: an answer shows no moment before
//! its question, and a crowd costs as many of them as there is time for. The making of one kind has a part of the
//! thread's time, so that the rest of the thread's work goes on between two. *Not here*: what is in an answer (`routes`).

use std::cell::RefCell;
use std::time::{Duration, Instant};

use monoio::time::sleep;

use crate::api::response::Response;
use fanfare_core::limits::{API_MAKING_BURST, API_MAKING_PAUSE_MAX, API_MAKING_PAUSES};

/// What is shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Every push.
    Pushes,
    /// Every shard.
    Shards,
    /// Every metric, as OpenMetrics.
    Metrics,
    /// The same in the older format.
    MetricsClassic,
}

/// The last answer of each kind.
#[derive(Debug, Default)]
pub struct Shared([RefCell<Last>; 4]);

/// The last answer of one kind.
#[derive(Debug, Default)]
struct Last {
    /// When its making began.
    begun: Option<Instant>,
    /// Kept for those who wait.
    response: Option<Response>,
    waiting: usize,
    /// When what was made is paid for; more is made from [`API_MAKING_BURST`] before that on.
    paid: Option<Instant>,
}

/// What to do for one who asked.
#[derive(Debug, PartialEq, Eq)]
enum Turn {
    /// Take what another had made.
    Take(Response),
    Make,
    Wait(Duration),
}

impl Shared {
    /// An answer of now or later.
    pub async fn get(&self, kind: Kind, make: impl Fn() -> Response) -> Response {
        let asked = Instant::now();
        let last = &self.0[kind as usize];
        let _waiting = Waiting::new(last);
        loop {
            let turn = last.borrow().turn(asked, Instant::now());
            match turn {
                Turn::Take(response) => return response,
                Turn::Make => {
                    let begun = Instant::now();
                    let response = make();
                    last.borrow_mut().made(&response, begun, Instant::now());
                    return response;
                }
                Turn::Wait(time) => sleep(time).await,
            }
        }
    }
}

impl Last {
    fn turn(&self, asked: Instant, now: Instant) -> Turn {
        if let Some(response) = self.response.as_ref().filter(|_| self.begun >= Some(asked)) {
            return Turn::Take(response.clone());
        }
        let early = self.paid.map_or(Duration::ZERO, |paid| paid.saturating_duration_since(now));
        match early.saturating_sub(API_MAKING_BURST) {
            Duration::ZERO => Turn::Make,
            time => Turn::Wait(time),
        }
    }

    fn made(&mut self, response: &Response, begun: Instant, now: Instant) {
        let cost = now - begun;
        let pause = (API_MAKING_PAUSES * cost).min(API_MAKING_PAUSE_MAX);
        self.paid = Some(self.paid.map_or(begun, |paid| paid.max(begun)) + cost + pause);
        self.begun = Some(begun);
        // He who made it waits no more.
        self.response = (self.waiting > 1).then(|| response.clone());
    }
}

/// One who waits for an answer of a kind; the last to go drops what was kept.
struct Waiting<'a>(&'a RefCell<Last>);

impl<'a> Waiting<'a> {
    fn new(last: &'a RefCell<Last>) -> Self {
        last.borrow_mut().waiting += 1;
        Self(last)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut last = self.0.borrow_mut();
        last.waiting -= 1;
        if last.waiting == 0 {
            last.response = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COST: Duration = Duration::from_millis(20);

    /// A crowd whose every member asks anew when it is answered, for so long: how many answers were made.
    fn made_for_a_crowd(count: usize, time: Duration) -> (usize, Duration) {
        let begin = Instant::now();
        let mut last = Last { waiting: count, ..Last::default() };
        let mut asked = vec![begin; count];
        let (mut now, mut made, mut longest) = (begin, 0, Duration::ZERO);
        while now < begin + time {
            let mut is_early = true;
            for asked in &mut asked {
                match last.turn(*asked, now) {
                    Turn::Wait(_) => continue,
                    Turn::Take(response) => assert_eq!(response, Response::empty()),
                    Turn::Make => {
                        last.made(&Response::empty(), now, now + COST);
                        made += 1;
                        now += COST;
                        is_early = false;
                    }
                }
                longest = longest.max(now - *asked);
                *asked = now;
            }
            if is_early {
                now += Duration::from_millis(1);
            }
        }
        (made, longest)
    }

    #[test]
    fn a_crowd_costs_no_more_than_one_who_asks_without_end() {
        let time = Duration::from_secs(10);
        let (alone, _) = made_for_a_crowd(1, time);
        let (many, longest) = made_for_a_crowd(256, time);
        let most = time.as_millis() / (COST * (1 + API_MAKING_PAUSES)).as_millis() + 2;
        assert!((2..=most).contains(&(alone as u128)), "{alone} of {most}");
        assert!((2..=most).contains(&(many as u128)), "{many} of {most}");
        assert!(longest <= 3 * COST * (1 + API_MAKING_PAUSES), "{longest:?}");
    }

    #[test]
    fn nobody_gets_what_was_made_before_it_asked() {
        let begin = Instant::now();
        let mut last = Last { waiting: 3, ..Last::default() };
        assert_eq!(last.turn(begin, begin), Turn::Make);
        last.made(&Response::empty(), begin + COST, begin + 2 * COST);
        let now = begin + 2 * COST;
        assert_eq!(last.turn(begin, now), Turn::Take(Response::empty()));
        assert_ne!(last.turn(begin + COST + Duration::from_nanos(1), now), Turn::Take(Response::empty()));
    }

    #[test]
    fn what_nobody_waits_for_is_not_kept() {
        let last = RefCell::new(Last::default());
        let begin = Instant::now();
        let first = Waiting::new(&last);
        last.borrow_mut().made(&Response::empty(), begin, begin);
        assert!(last.borrow().response.is_none(), "nobody else asks");
        let second = Waiting::new(&last);
        last.borrow_mut().made(&Response::empty(), begin, begin);
        assert!(last.borrow().response.is_some());
        drop((first, second));
        assert!(last.borrow().response.is_none());
    }

    #[test]
    fn a_making_that_was_interrupted_is_not_waited_for_without_end() {
        let begin = Instant::now();
        let mut last = Last { waiting: 1, ..Last::default() };
        let end = begin + Duration::from_secs(60);
        last.made(&Response::empty(), begin, end);
        assert_eq!(last.turn(end, end + API_MAKING_PAUSE_MAX), Turn::Make);
    }
}

//! What is shown and kept of a run while it lasts.

use crate::gateway::Gateway;
use crate::progress::{Progress, Reading, Sampler};
use crate::receiver::Receivers;
use crate::units::{count, human};

/// Shows how the run goes, and keeps it for the curves.
pub(crate) struct Watch {
    pub(crate) progress: Progress,
    pub(crate) sampler: Sampler,
    /// Deliveries so far, once nobody receives any more.
    deliveries: u64,
    /// The gateway's highest anonymous memory, bytes.
    pub(crate) peak: u64,
}

impl Watch {
    pub(crate) fn new(progress: Progress) -> Self {
        Self { progress, sampler: Sampler::new(), deliveries: 0, peak: 0 }
    }

    /// A look at the run, from each loop that waits for something.
    pub(crate) fn look(&mut self, position: u64, receivers: &Receivers, gateway: &Gateway) {
        self.deliveries = receivers.messages();
        self.sampler.sample(|| {
            let memory = gateway.memory().map(|memory| memory.anonymous);
            self.peak = self.peak.max(memory.unwrap_or(0));
            let (deliveries, open) = (self.deliveries, receivers.open());
            Reading { deliveries, open, memory, latency: Some(receivers.latency()) }
        });
        self.progress.update(position, || {
            let latency = receivers.latency();
            let at = |name: &str, quantile| {
                latency.quantile_ms(quantile).map(|ms| format!("{name} {}", human(ms, "ms")))
            };
            let memory =
                gateway.memory().map(|memory| format!("gateway {}", human(memory.anonymous as f64, "B")));
            let per_s = self.sampler.deliveries_per_s();
            let rate = (per_s > 0.0).then(|| format!("{} deliveries/s", count(per_s)));
            let open = format!("{} connected", count(receivers.open() as f64));
            let parts = [Some(open), rate, at("p50", 0.5), at("p99", 0.99), memory];
            parts.into_iter().flatten().collect::<Vec<_>>().join(" · ")
        });
    }

    /// The same when the connections are closed.
    pub(crate) fn left(&mut self, gateway: &Gateway) {
        let memory = gateway.memory().map(|memory| memory.anonymous);
        let deliveries = self.deliveries;
        self.sampler.sample(|| Reading { deliveries, open: 0, memory, latency: None });
        self.progress.update(0, String::new);
    }
}

//! The table of metrics as OpenMetrics text.
//!
//! *Not here*: the table (`super`).

use std::collections::HashMap;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;

use super::{BUILD, FAMILIES, Family, Kind, Reading, Source};
use fanfare_core::counters::histogram::{self, Snapshot};

impl Collector for Source {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for family in FAMILIES {
            family.encode(self, &mut encoder)?;
        }
        encoder
            .encode_descriptor(BUILD.0, BUILD.1, None, MetricType::Info)?
            .encode_info(&[("version", env!("CARGO_PKG_VERSION"))])
    }
}

impl Family {
    /// Names of its labels, in the order of the text.
    pub(super) fn labels(&self) -> Vec<&'static str> {
        let shard = self.per_shard.then_some("shard");
        let keys = [self.key, self.second].map(|key| key.map(|key| key.name));
        shard.into_iter().chain(keys.into_iter().flatten()).chain(self.also.map(|also| also.0)).collect()
    }

    fn encode(&self, source: &Source, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut metric = encoder.encode_descriptor(self.name, self.help, None, self.kind.metric_type())?;
        for shard in 0..if self.per_shard { source.blocks.shards.len() } else { 1 } {
            let seconds = self.second.map_or(1, |key| key.values);
            for index in 0..self.key.map_or(1, |key| key.values) * seconds {
                let mut labels = Vec::with_capacity(3);
                if self.per_shard {
                    labels.push(("shard", shard.to_string()));
                }
                if let Some(key) = self.key {
                    labels.push((key.name, (key.value)(index / seconds).to_owned()));
                }
                if let Some(key) = self.second {
                    labels.push((key.name, (key.value)(index % seconds).to_owned()));
                }
                labels.extend(self.also.map(|(name, value)| (name, value(index))));
                if labels.is_empty() {
                    self.encode_value(source, shard, index, &mut metric)?;
                } else {
                    self.encode_value(source, shard, index, &mut metric.encode_family(&labels)?)?;
                }
            }
        }
        Ok(())
    }

    fn encode_value(
        &self,
        source: &Source,
        shard: usize,
        index: usize,
        metric: &mut MetricEncoder<'_>,
    ) -> fmt::Result {
        match self.read {
            Reading::Value(read) => self.kind.encode(read(source, shard, index), metric),
            Reading::Histogram(read) => self.kind.encode_histogram(&read(source, shard), metric),
        }
    }
}

impl Kind {
    /// As the table of the documentation calls it.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Counter | Self::CounterSeconds => "counter",
            Self::Gauge | Self::GaugeSeconds => "gauge",
            Self::Histogram(..) => "histogram",
        }
    }

    const fn metric_type(self) -> MetricType {
        match self {
            Self::Counter | Self::CounterSeconds => MetricType::Counter,
            Self::Gauge | Self::GaugeSeconds => MetricType::Gauge,
            Self::Histogram(..) => MetricType::Histogram,
        }
    }

    fn encode(self, value: u64, metric: &mut MetricEncoder<'_>) -> fmt::Result {
        const NO_EXEMPLAR: Option<&Exemplar<NoLabelSet, f64>> = None;
        let seconds = value as f64 / 1e6;
        match self {
            Self::Counter => metric.encode_counter(&value, NO_EXEMPLAR),
            Self::CounterSeconds => metric.encode_counter(&seconds, NO_EXEMPLAR),
            // The encoder refuses what i64 cannot hold; a gauge that high is a bug to see, not a scrape to lose.
            Self::Gauge => metric.encode_gauge(&i64::try_from(value).unwrap_or(i64::MAX)),
            Self::GaugeSeconds => metric.encode_gauge(&seconds),
            Self::Histogram(..) => unreachable!("the table gives a histogram its own reading"),
        }
    }

    fn encode_histogram(self, values: &Snapshot, metric: &mut MetricEncoder<'_>) -> fmt::Result {
        const NO_EXEMPLARS: Option<&HashMap<usize, Exemplar<NoLabelSet, f64>>> = None;
        let Self::Histogram(per, from, to) = self else {
            unreachable!("the table gives nothing else a histogram's reading")
        };
        let per = f64::from(per);
        let mut buckets = Vec::with_capacity(to - from + 2);
        let mut below = None;
        for index in from..=to {
            buckets.push((histogram::bound(index) as f64 / per, values.between(below, index)));
            below = Some(index);
        }
        // The encoder shows this bound as +Inf.
        buckets.push((f64::MAX, values.between(below, histogram::BOUNDS)));
        metric.encode_histogram(values.sum() as f64 / per, values.count(), &buckets, NO_EXEMPLARS)
    }
}

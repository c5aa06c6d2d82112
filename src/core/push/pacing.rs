//! Allotment: what each push may send per second, and what of it each shard.
//!
//! A rate is the push's own, less where all together are capped: there they share by weight, and what one does not need
//! is the others'. Its split over the shards follows what each still has to serve, so that all of them end together; a
//! shard that has nothing to serve gets nothing, and so gives back what it had. *Not here*: how a shard spends its part
//! (`bucket`).

use super::share::UNLIMITED;
use crate::limits::PACE_SHARD_MILLI_MIN;

/// What one push would have.
#[derive(Clone, Debug)]
pub struct Demand {
    /// Its own pace, thousandths of a device per second; [`UNLIMITED`], or 0 to stand still.
    pub rate_milli: u64,
    /// Its share of a cap, from 1.
    pub weight: u32,
    /// Devices that each shard could serve now.
    pub servable: Vec<u64>,
}

impl Demand {
    fn is_active(&self) -> bool {
        self.rate_milli > 0 && self.servable.iter().any(|devices| *devices > 0)
    }
}

/// What each push may send under a common cap, thousandths of a device per second, in the order of the demands.
pub fn rates(cap_milli: Option<u64>, demands: &[Demand]) -> Vec<u64> {
    let mut rates: Vec<u64> = demands.iter().map(|demand| demand.rate_milli).collect();
    let Some(mut cap) = cap_milli else { return rates };
    let mut sharing: Vec<usize> = (0..demands.len()).filter(|&i| demands[i].is_active()).collect();
    loop {
        let weights: u64 = sharing.iter().map(|&i| u64::from(demands[i].weight)).sum();
        if weights == 0 {
            break;
        }
        let fair = |i: usize| (u128::from(cap) * u128::from(demands[i].weight) / u128::from(weights)) as u64;
        let (modest, greedy): (Vec<usize>, Vec<usize>) =
            sharing.iter().partition(|&&i| demands[i].rate_milli <= fair(i));
        if modest.is_empty() {
            for i in greedy {
                rates[i] = fair(i);
            }
            break;
        }
        cap -= modest.iter().map(|&i| demands[i].rate_milli).sum::<u64>();
        sharing = greedy;
    }
    // Whoever has nothing to serve now begins with the next allotment: pushes that stand behind each other would have
    // the cap each, one device after the other.
    for (rate, demand) in rates.iter_mut().zip(demands) {
        if !demand.is_active() {
            *rate = 0;
        }
    }
    rates
}

/// What each shard may send of a push's rate.
pub fn split(rate_milli: u64, servable: &[u64]) -> Vec<u64> {
    if rate_milli == UNLIMITED || rate_milli == 0 {
        return vec![rate_milli; servable.len()];
    }
    let mut order: Vec<usize> = (0..servable.len()).filter(|&shard| servable[shard] > 0).collect();
    let mut shares = vec![0; servable.len()];
    if order.is_empty() {
        return even(rate_milli, servable.len());
    }
    // By halves, so that shards which are served in turn do not change places with every device: each change costs what
    // the next one is late.
    order.sort_by_key(|&shard| std::cmp::Reverse(servable[shard].ilog2()));
    order.truncate((rate_milli / PACE_SHARD_MILLI_MIN).max(1) as usize);
    let total: u64 = order.iter().map(|&shard| servable[shard]).sum();
    let mut given = 0;
    for &shard in &order {
        shares[shard] = (u128::from(rate_milli) * u128::from(servable[shard]) / u128::from(total)) as u64;
        given += shares[shard];
    }
    shares[order[0]] += rate_milli - given;
    shares
}

/// The same for every shard: before it is known what each has to serve.
pub fn even(rate_milli: u64, shards: usize) -> Vec<u64> {
    if rate_milli == UNLIMITED {
        return vec![UNLIMITED; shards];
    }
    let (each, rest) = (rate_milli / shards as u64, rate_milli % shards as u64);
    (0..shards as u64).map(|shard| each + u64::from(shard < rest)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn demand(rate_milli: u64, weight: u32, servable: &[u64]) -> Demand {
        Demand { rate_milli, weight, servable: servable.to_vec() }
    }

    #[test]
    fn without_a_cap_each_has_its_own_pace() {
        let demands = [demand(500_000, 1, &[10]), demand(UNLIMITED, 1, &[10]), demand(0, 1, &[10])];
        assert_eq!(rates(None, &demands), [500_000, UNLIMITED, 0]);
    }

    #[test]
    fn a_cap_is_shared_by_weight_and_what_one_leaves_is_the_others() {
        let demands = [demand(UNLIMITED, 1, &[9]), demand(900_000, 3, &[9]), demand(50_000, 1, &[9])];
        assert_eq!(rates(Some(1_000_000), &demands), [237_500, 712_500, 50_000]);
        let blocked = [demand(UNLIMITED, 1, &[9]), demand(900_000, 3, &[0]), demand(50_000, 1, &[9])];
        assert_eq!(rates(Some(1_000_000), &blocked)[0], 950_000);
    }

    #[test]
    fn shards_share_by_what_they_have_to_serve() {
        assert_eq!(split(900_000, &[100, 200, 0]), [300_000, 600_000, 0]);
        assert_eq!(split(150_000, &[100, 200, 50]), [0, 150_000, 0], "too little for two");
        assert_eq!(split(10, &[0, 0, 0]).iter().sum::<u64>(), 10);
        assert_eq!(split(UNLIMITED, &[1, 0]), [UNLIMITED, UNLIMITED]);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_no_cap_is_passed(
            cap in prop::option::of(100_u64..10_000_000_000),
            pushes in prop::collection::vec(
                (prop_oneof![Just(0), Just(UNLIMITED), 100_u64..10_000_000_000], 1_u32..1000,
                 prop::collection::vec(0_u64..1_000_000, 3)), 0..20)
        ) {
            let demands: Vec<Demand> =
                pushes.into_iter().map(|(rate, weight, servable)| demand(rate, weight, &servable)).collect();
            let rates = rates(cap, &demands);
            let active: Vec<usize> = (0..demands.len()).filter(|&i| demands[i].is_active()).collect();
            for (rate, demand) in rates.iter().zip(&demands) {
                prop_assert!(*rate <= demand.rate_milli);
                if *rate != UNLIMITED {
                    prop_assert_eq!(split(*rate, &demand.servable).iter().sum::<u64>(), if *rate == 0 { 0 } else { *rate });
                }
            }
            if let Some(cap) = cap {
                let sum: u128 = active.iter().map(|&i| u128::from(rates[i])).sum();
                prop_assert!(sum <= u128::from(cap));
                let all: u128 = active.iter().map(|&i| u128::from(demands[i].rate_milli)).sum();
                // Rounding down loses less than a thousandth of a device for each.
                prop_assert!(sum + 20 >= all.min(u128::from(cap)));
            }
        }
    }
}

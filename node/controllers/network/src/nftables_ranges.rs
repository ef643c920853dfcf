//! Sets of numbers as ranges that are ascending and apart: addresses of a family, ports.

use ipnet::IpNet;

/// A set of numbers from 0 to a greatest one; both ends of each range are in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranges {
    all: Vec<(u128, u128)>,
    greatest: u128,
}

impl Ranges {
    /// The numbers of these ranges, which may overlap and stand in any order.
    pub fn new(greatest: u128, ranges: impl IntoIterator<Item = (u128, u128)>) -> Self {
        let mut sorted: Vec<_> = ranges.into_iter().filter(|(first, last)| first <= last).collect();
        sorted.sort_unstable();
        let mut all: Vec<(u128, u128)> = Vec::with_capacity(sorted.len());
        for (first, last) in sorted {
            match all.last_mut() {
                Some((_, end)) if first <= end.saturating_add(1) => *end = (*end).max(last),
                _ => all.push((first, last.min(greatest))),
            }
        }
        Self { all, greatest }
    }

    /// The addresses of one family in these networks.
    pub fn of_family(is_ipv4: bool, networks: &[IpNet]) -> Self {
        let greatest = if is_ipv4 { u128::from(u32::MAX) } else { u128::MAX };
        let ranges = networks.iter().filter_map(|network| match network {
            IpNet::V4(net) => is_ipv4.then(|| {
                let (first, last) = (u32::from(net.network()), u32::from(net.broadcast()));
                (first.into(), last.into())
            }),
            IpNet::V6(net) => (!is_ipv4).then(|| (u128::from(net.network()), u128::from(net.broadcast()))),
        });
        Self::new(greatest, ranges)
    }

    /// Every other number.
    #[must_use]
    pub fn inverted(&self) -> Self {
        let mut all = Vec::with_capacity(self.all.len() + 1);
        let mut next = Some(0);
        for (first, last) in &self.all {
            if let (Some(begin), Some(end)) = (next, first.checked_sub(1))
                && begin <= end
            {
                all.push((begin, end));
            }
            next = last.checked_add(1).filter(|next| *next <= self.greatest);
        }
        all.extend(next.map(|begin| (begin, self.greatest)));
        Self { all, greatest: self.greatest }
    }

    /// What is in this set and not in the other.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        let outside = self.inverted();
        let both = outside.all.iter().chain(&other.all).copied();
        Self::new(self.greatest, both).inverted()
    }

    /// Whether it has no number.
    pub const fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether it has every number.
    pub fn is_all(&self) -> bool {
        self.all == [(0, self.greatest)]
    }

    /// The ranges, each end as so many bytes in network order.
    pub fn bytes(&self, count: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
        let low = |number: u128| {
            let bytes = number.to_be_bytes();
            bytes.get(bytes.len().saturating_sub(count)..).unwrap_or_default().to_vec()
        };
        self.all.iter().map(|(first, last)| (low(*first), low(*last))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().expect("a network")).collect()
    }

    #[test]
    fn networks_of_a_family_without_what_is_left_out() {
        let include =
            Ranges::of_family(true, &nets(&["10.0.0.0/8", "10.1.0.0/16", "11.0.0.0/8", "fd00::/8"]));
        assert_eq!(include.bytes(4), [(vec![10, 0, 0, 0], vec![11, 255, 255, 255])]);
        let left = include.without(&Ranges::of_family(true, &nets(&["10.0.0.0/9", "11.255.255.255/32"])));
        assert_eq!(left.bytes(4), [(vec![10, 128, 0, 0], vec![11, 255, 255, 254])]);
        let all = Ranges::of_family(false, &nets(&["::/0"]));
        assert!(all.is_all() && all.inverted().is_empty());
        assert!(Ranges::of_family(true, &nets(&["fd00::/8"])).is_empty());
        assert!(Ranges::of_family(true, &[]).inverted().is_all());
    }

    proptest::proptest! {
        #[test]
        fn sets_behave_as_sets(
            one in proptest::collection::vec((0_u128..256, 0_u128..256), 0..6),
            two in proptest::collection::vec((0_u128..256, 0_u128..256), 0..6),
        ) {
            let (a, b) = (Ranges::new(255, one), Ranges::new(255, two));
            let has = |set: &Ranges, number| set.all.iter().any(|(first, last)| (*first..=*last).contains(&number));
            for number in 0..256 {
                proptest::prop_assert_eq!(has(&a.inverted(), number), !has(&a, number));
                proptest::prop_assert_eq!(has(&a.without(&b), number), has(&a, number) && !has(&b, number));
            }
            let apart = a.without(&b).all;
            proptest::prop_assert!(apart.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0));
        }
    }
}

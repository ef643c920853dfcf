//! Rules of a chain as steps of the kernel.
//!
//! ```text
//! NfTablesRule ──▶ one rule of the kernel, or one for each family of addresses that it can hold for
//! ```

use corten_resource::Enumeration as _;
use corten_resources::network::{
    AddressMatch, ConntrackStateMatch, IfNameMatch, Layer4Match, MatchOperator, NfTablesChain, NfTablesRule,
    PortMatch, Verdict,
};
use corten_sys::nftables::{Chain, ElementType, Elements, Expression, Load, Rule, Verdict as KernelVerdict};

use crate::nftables_ranges::Ranges;

/// Bytes of a link's name in the kernel.
const LINK_NAME: usize = 16;
const IPV4: u8 = 2;
const IPV6: u8 = 10;

/// A chain that the kernel can be given.
///
/// # Errors
/// When a rule has a part that this version cannot program; nothing else would be true to its meaning.
pub fn chain(chain: &NfTablesChain) -> Result<Chain, &'static str> {
    let mut rules = Vec::new();
    for (number, rule) in chain.rules.iter().enumerate() {
        for (part, expressions) in variants(rule)?.into_iter().enumerate() {
            rules.push(Rule { comment: comment(number, part, &expressions), expressions });
        }
    }
    let hook = u32::try_from(chain.hook.number()).unwrap_or_default();
    let policy = verdict(chain.policy);
    Ok(Chain { kind: chain.kind.clone(), hook, priority: chain.priority.0, policy, rules })
}

/// By which a rule is known again: its place, and what it does.
fn comment(number: usize, part: usize, expressions: &[Expression]) -> String {
    use sha2::Digest as _;

    let digest = sha2::Sha256::digest(format!("{expressions:?}"));
    format!("{number}.{part} {}", hex::encode(digest.get(..8).unwrap_or_default()))
}

const fn verdict(verdict: Verdict) -> KernelVerdict {
    match verdict {
        Verdict::Drop => KernelVerdict::Drop,
        Verdict::Accept => KernelVerdict::Accept,
    }
}

/// The rule for each family of addresses, or one for all when it looks at none.
fn variants(rule: &NfTablesRule) -> Result<Vec<Vec<Expression>>, &'static str> {
    if rule.mark.is_some() || rule.set_mark.is_some() || rule.clamp_mss.is_some() {
        return Err("marks and the size of segments cannot be programmed by this version");
    }
    if rule.source.is_none() && rule.destination.is_none() {
        return Ok(vec![steps(rule, Vec::new())]);
    }
    let families = [true, false].into_iter();
    Ok(families.filter_map(|is_ipv4| Some(steps(rule, addresses(rule, is_ipv4)?))).collect())
}

/// What the rule says of addresses of a family; `None` when it holds for none of them.
fn addresses(rule: &NfTablesRule, is_ipv4: bool) -> Option<Vec<Expression>> {
    let (source, destination, length) = if is_ipv4 { (12, 16, 4) } else { (8, 24, 16) };
    let family = if is_ipv4 { IPV4 } else { IPV6 };
    let mut steps = vec![Expression::Load(Load::Family), Expression::Equal(vec![family])];
    for (wanted, offset) in [(&rule.source, source), (&rule.destination, destination)] {
        let Some(wanted) = wanted else { continue };
        let ranges = ranges(wanted, is_ipv4);
        if ranges.is_empty() {
            return None;
        }
        if !ranges.is_all() {
            let kind = if is_ipv4 { ElementType::Ipv4 } else { ElementType::Ipv6 };
            let bytes = ranges.bytes(usize::try_from(length).unwrap_or_default());
            steps.push(Expression::Load(Load::Network { offset, length }));
            steps.push(Expression::Among(kind, Elements::Ranges(bytes)));
        }
    }
    Some(steps)
}

fn ranges(wanted: &AddressMatch, is_ipv4: bool) -> Ranges {
    let include = Ranges::of_family(is_ipv4, &wanted.include_subnets);
    let chosen = include.without(&Ranges::of_family(is_ipv4, &wanted.exclude_subnets));
    if wanted.invert { chosen.inverted() } else { chosen }
}

fn steps(rule: &NfTablesRule, addresses: Vec<Expression>) -> Vec<Expression> {
    let mut steps = Vec::new();
    for (load, links) in [(Load::InputLink, &rule.input_link), (Load::OutputLink, &rule.output_link)] {
        if let Some(links) = links {
            steps.extend(link(load, links));
        }
    }
    steps.extend(rule.conntrack_state.iter().flat_map(conntrack));
    steps.extend(addresses);
    steps.extend(rule.layer4.iter().flat_map(layer4));
    steps.extend(rule.limit.iter().map(|limit| Expression::Limit(limit.packet_rate_per_second)));
    if rule.counter {
        steps.push(Expression::Count);
    }
    steps.extend(rule.verdict.map(|judgement| Expression::Judge(verdict(judgement))));
    steps
}

fn link(load: Load, wanted: &IfNameMatch) -> [Expression; 2] {
    let padded = |name: &String| {
        let mut bytes = name.clone().into_bytes();
        bytes.resize(LINK_NAME, 0);
        bytes
    };
    let names = Elements::Values(wanted.names.iter().map(padded).collect());
    let kind = ElementType::Link;
    let compare = match wanted.operator {
        MatchOperator::Equal => Expression::Among(kind, names),
        MatchOperator::NotEqual => Expression::NotAmong(kind, names),
    };
    [Expression::Load(load), compare]
}

fn conntrack(wanted: &ConntrackStateMatch) -> [Expression; 3] {
    let bits = wanted.states.iter().fold(0, |bits, state| bits | state.number());
    let mask = u32::try_from(bits).unwrap_or_default().to_ne_bytes().to_vec();
    [Expression::Load(Load::Conntrack), Expression::Mask(mask), Expression::NotEqual(vec![0; 4])]
}

fn layer4(wanted: &Layer4Match) -> Vec<Expression> {
    let protocol = u8::try_from(wanted.protocol.number()).unwrap_or_default();
    let mut steps = vec![Expression::Load(Load::Protocol), Expression::Equal(vec![protocol])];
    for (ports, offset) in [(&wanted.source_port, 0), (&wanted.destination_port, 2)] {
        if let Some(ports) = ports {
            steps.extend(port(ports, offset));
        }
    }
    if let Some(types) = &wanted.icmp_type {
        let numbers = types.types.iter().map(|kind| vec![u8::try_from(kind.number()).unwrap_or_default()]);
        steps.push(Expression::Load(Load::Transport { offset: 0, length: 1 }));
        steps.push(Expression::Among(ElementType::Icmp, Elements::Values(numbers.collect())));
    }
    steps
}

fn port(wanted: &PortMatch, offset: u32) -> [Expression; 2] {
    let ranges = wanted.ranges.iter().map(|range| (range.lo.into(), range.hi.into()));
    let bytes = Ranges::new(u16::MAX.into(), ranges).bytes(2);
    let among = Expression::Among(ElementType::Port, Elements::Ranges(bytes));
    [Expression::Load(Load::Transport { offset, length: 2 }), among]
}

#[cfg(test)]
mod tests {
    use corten_resources::network::{ChainHook, ChainPriority, ClampMss, LimitMatch, PortRange, Protocol};

    use super::*;

    fn from(include: &[&str], invert: bool) -> NfTablesRule {
        let nets = include.iter().map(|net| net.parse().expect("a network")).collect();
        let source = AddressMatch { include_subnets: nets, invert, ..AddressMatch::default() };
        NfTablesRule { source: Some(source), verdict: Some(Verdict::Drop), ..NfTablesRule::default() }
    }

    fn families(rule: &NfTablesRule) -> Vec<u8> {
        let family = |steps: &Vec<Expression>| match &steps[1] {
            Expression::Equal(value) => value[0],
            other => panic!("{other:?}"),
        };
        variants(rule).expect("rules").iter().map(family).collect()
    }

    #[test]
    fn a_rule_about_addresses_is_one_for_each_family_that_it_can_hold_for() {
        assert_eq!(families(&from(&["10.0.0.0/8", "fd00::/8"], false)), [IPV4, IPV6]);
        assert_eq!(families(&from(&["10.0.0.0/8"], false)), [IPV4]);
        assert_eq!(families(&from(&["10.0.0.0/8"], true)), [IPV4, IPV6]);
        assert_eq!(families(&from(&["0.0.0.0/0"], true)), [IPV6]);
        assert_eq!(families(&from(&[], false)), Vec::<u8>::new());
    }

    #[test]
    fn steps_come_in_the_order_of_their_cost() {
        let rule = NfTablesRule {
            input_link: Some(IfNameMatch { names: vec!["lo".into()], operator: MatchOperator::Equal }),
            layer4: Some(Layer4Match {
                protocol: Protocol::Udp,
                destination_port: Some(PortMatch { ranges: vec![PortRange { lo: 53, hi: 53 }] }),
                ..Layer4Match::default()
            }),
            limit: Some(LimitMatch { packet_rate_per_second: 5 }),
            counter: true,
            verdict: Some(Verdict::Accept),
            ..NfTablesRule::default()
        };
        let mut name = b"lo".to_vec();
        name.resize(16, 0);
        let ports = Elements::Ranges(vec![(vec![0, 53], vec![0, 53])]);
        let expected = vec![
            Expression::Load(Load::InputLink),
            Expression::Among(ElementType::Link, Elements::Values(vec![name])),
            Expression::Load(Load::Protocol),
            Expression::Equal(vec![17]),
            Expression::Load(Load::Transport { offset: 2, length: 2 }),
            Expression::Among(ElementType::Port, ports),
            Expression::Limit(5),
            Expression::Count,
            Expression::Judge(KernelVerdict::Accept),
        ];
        assert_eq!(variants(&rule), Ok(vec![expected]));
    }

    #[test]
    fn what_cannot_be_programmed_is_no_rule() {
        let rule = NfTablesRule { clamp_mss: Some(ClampMss { mtu: 1420 }), ..NfTablesRule::default() };
        let wanted = NfTablesChain { rules: vec![rule], ..NfTablesChain::default() };
        assert!(chain(&wanted).is_err());
    }

    #[test]
    fn comments_tell_rules_apart_by_place_and_content() {
        let wanted = |net: &str| NfTablesChain {
            kind: NfTablesChain::FILTER.into(),
            hook: ChainHook::Input,
            priority: ChainPriority::MANGLE,
            policy: Verdict::Accept,
            rules: vec![from(&[net], false), from(&[net], false)],
        };
        let comments = |net: &str| {
            let chain = chain(&wanted(net)).expect("a chain");
            chain.rules.into_iter().map(|rule| rule.comment).collect::<Vec<_>>()
        };
        let (one, other) = (comments("10.0.0.0/8"), comments("10.0.0.0/9"));
        assert_ne!(one[0], one[1]);
        assert_ne!(one, other);
        assert_eq!(one, comments("10.0.0.0/8"));
    }
}

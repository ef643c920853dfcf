//! The kernel of a namespace of our own is the judge: it takes the rules, and packets pass or do not.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use super::*;
use crate::namespace::{Namespaces, unshare};
use crate::network::Links;

const TABLE: &str = "corten-test";
/// Long for a loop, short for a person.
const PATIENCE: Duration = Duration::from_millis(300);

/// Runs `work` in a network of its own, where `lo` is up.
fn alone(work: impl FnOnce() + Send) {
    let work = || {
        unshare(Namespaces::NET).unwrap();
        Links::open().and_then(|mut links| links.set_up("lo")).unwrap();
        work();
    };
    std::thread::scope(|scope| scope.spawn(work).join()).unwrap();
}

/// A chain for packets to this machine.
fn input(policy: Verdict, rules: Vec<Rule>) -> Table {
    let chain = Chain { kind: "filter".into(), hook: 1, priority: -140, policy, rules };
    Table { name: TABLE.into(), chains: BTreeMap::from([("ingress".into(), chain)]) }
}

fn rule(comment: &str, expressions: Vec<Expression>) -> Rule {
    Rule { expressions, comment: comment.into() }
}

/// TCP to one of these ports becomes what the verdict says.
fn ports(ranges: &[(u16, u16)], verdict: Verdict) -> Rule {
    let bytes = |port: u16| port.to_be_bytes().to_vec();
    let ranges = ranges.iter().map(|(first, last)| (bytes(*first), bytes(*last))).collect();
    let among = Expression::Among(ElementType::Port, Elements::Ranges(ranges));
    let load = Expression::Load(Load::Transport { offset: 2, length: 2 });
    let tcp = [Expression::Load(Load::Protocol), Expression::Equal(vec![6])];
    rule("ports", [&tcp[..], &[load, among, Expression::Count, Expression::Judge(verdict)]].concat())
}

/// Packets of connections that both sides know pass.
fn established() -> Rule {
    let bits = 2_u32 | 4;
    let expressions = vec![
        Expression::Load(Load::Conntrack),
        Expression::Mask(bits.to_ne_bytes().to_vec()),
        Expression::NotEqual(vec![0; 4]),
        Expression::Judge(Verdict::Accept),
    ];
    rule("established", expressions)
}

fn connects(listener: &TcpListener) -> bool {
    let port = listener.local_addr().unwrap().port();
    match TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), PATIENCE) {
        Ok(_) => true,
        Err(error) if error.kind() == io::ErrorKind::TimedOut => false,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn what_is_not_accepted_is_dropped_and_what_is_gone_stops_nothing() {
    alone(|| {
        let [allowed, other] = [0, 0].map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap());
        let port = allowed.local_addr().unwrap().port();
        assert!(connects(&allowed) && connects(&other));
        replace(&input(Verdict::Drop, vec![established(), ports(&[(port, port)], Verdict::Accept)])).unwrap();
        assert!(connects(&allowed) && !connects(&other));
        let others = ports(&[(1, port - 1), (port + 1, u16::MAX)], Verdict::Drop);
        replace(&input(Verdict::Accept, vec![established(), others])).unwrap();
        assert!(connects(&allowed) && !connects(&other));
        replace(&Table { name: TABLE.into(), chains: BTreeMap::new() }).unwrap();
        assert!(connects(&allowed) && connects(&other));
        assert_eq!(read(TABLE).unwrap(), None);
    });
}

#[test]
fn links_addresses_and_limits_are_looked_at() {
    alone(|| {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let accept = |mut expressions: Vec<Expression>| {
            expressions.push(Expression::Judge(Verdict::Accept));
            replace(&input(Verdict::Drop, vec![rule("it", expressions)])).unwrap();
            connects(&listener)
        };
        let names = |names: &[&str]| {
            let padded = |name: &&str| [name.as_bytes(), &vec![0; 16 - name.len()]].concat();
            Elements::Values(names.iter().map(padded).collect())
        };
        let by = |elements| {
            vec![Expression::Load(Load::InputLink), Expression::Among(ElementType::Link, elements)]
        };
        assert!(accept(by(names(&["siderolink", "lo"]))));
        assert!(!accept(by(names(&["siderolink", "kubespan"]))));

        let from = |first: [u8; 4], last: [u8; 4], is_among: bool| {
            let ranges = Elements::Ranges(vec![(first.to_vec(), last.to_vec())]);
            let load = Expression::Load(Load::Network { offset: 12, length: 4 });
            let kind = ElementType::Ipv4;
            let among =
                if is_among { Expression::Among(kind, ranges) } else { Expression::NotAmong(kind, ranges) };
            vec![Expression::Load(Load::Family), Expression::Equal(vec![2]), load, among]
        };
        assert!(accept(from([127, 0, 0, 0], [127, 255, 255, 255], true)));
        assert!(!accept(from([128, 0, 0, 0], [255, 255, 255, 255], true)));
        assert!(!accept(from([127, 0, 0, 0], [127, 255, 255, 255], false)));
        assert!(accept(vec![Expression::Limit(1000)]));
    });
}

#[test]
fn what_is_read_back_is_what_was_written() {
    alone(|| {
        assert_eq!(read(TABLE).unwrap(), None);
        let mut table = input(Verdict::Drop, vec![established(), ports(&[(1, 2), (7, 9)], Verdict::Accept)]);
        let forward = Chain { kind: "filter".into(), hook: 0, priority: -110, ..Chain::default() };
        table.chains.insert("prerouting".into(), forward);
        replace(&table).unwrap();
        let read = read(TABLE).unwrap().unwrap();
        let written: BTreeMap<_, _> =
            table.chains.iter().map(|(name, chain)| (name.clone(), chain.programmed())).collect();
        assert_eq!(read, written);
        assert_eq!(read["ingress"].comments, ["established", "ports"]);
    });
}

#[test]
fn what_the_kernel_refuses_changes_nothing() {
    alone(|| {
        let good = input(Verdict::Accept, vec![established()]);
        replace(&good).unwrap();
        // Compares more bytes than a register has.
        let wrong = rule("wrong", vec![Expression::Load(Load::Family), Expression::Equal(vec![0; 200])]);
        assert!(replace(&input(Verdict::Drop, vec![wrong])).is_err());
        assert_eq!(read(TABLE).unwrap().unwrap()["ingress"], good.chains["ingress"].programmed());
    });
}

#[test]
fn a_range_ends_before_the_number_after_it() {
    assert_eq!(successor(&[1, 255]), Some(vec![2, 0]));
    assert_eq!(successor(&[1, 7]), Some(vec![1, 8]));
    assert_eq!(successor(&[255, 255]), None);
    let whole = Elements::Ranges(vec![(vec![0, 0], vec![255, 255])]);
    assert_eq!(keys(&whole), [(vec![0, 0], false)]);
}

#[test]
fn any_message_of_the_kernel_is_read_or_passed_over() {
    bolero::check!().for_each(|bytes: &[u8]| {
        let _ = chain_of(bytes, TABLE);
        let _ = rule_of(bytes, TABLE);
    });
}

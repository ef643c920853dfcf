//! Steps of a rule as attributes (`linux/netfilter/nf_tables.h`).

use super::{Expression, Load, SET_NAME, Verdict, word};
use crate::netlink::Message;

/// The register that values are loaded into, sixteen bytes of it.
const REGISTER: u32 = 1;
/// The register of what becomes of the packet.
const VERDICT_REGISTER: u32 = 0;

/// Writes the attributes of a step.
pub(super) type Write<'a> = Box<dyn FnOnce(&mut Message) + 'a>;

/// The kernel's name of a step and its attributes. `set` is the set that a comparison with many looks into.
pub(super) fn step(expression: &Expression, set: u32) -> (&'static str, Write<'_>) {
    const EQUAL: u32 = 0;
    const NOT_EQUAL: u32 = 1;
    match expression {
        Expression::Load(load) => load_step(*load),
        Expression::Mask(mask) => ("bitwise", Box::new(move |it| bitwise(it, mask))),
        Expression::Equal(value) => ("cmp", Box::new(move |it| compare(it, EQUAL, value))),
        Expression::NotEqual(value) => ("cmp", Box::new(move |it| compare(it, NOT_EQUAL, value))),
        Expression::Among(..) => ("lookup", Box::new(move |it| lookup(it, set, 0))),
        Expression::NotAmong(..) => ("lookup", Box::new(move |it| lookup(it, set, 1))),
        Expression::Limit(per_second) => ("limit", Box::new(move |it| limit(it, *per_second))),
        Expression::Count => ("counter", Box::new(count)),
        Expression::Judge(verdict) => ("immediate", Box::new(move |it| judge(it, *verdict))),
    }
}

fn load_step<'a>(load: Load) -> (&'static str, Write<'a>) {
    let meta = |key| -> (&'static str, Write<'a>) {
        let write = move |it: &mut Message| {
            word(it, 1, REGISTER);
            word(it, 2, key);
        };
        ("meta", Box::new(write))
    };
    let payload = |base, offset, length| -> (&'static str, Write<'a>) {
        let write = move |it: &mut Message| {
            for (kind, value) in [(1, REGISTER), (2, base), (3, offset), (4, length)] {
                word(it, kind, value);
            }
        };
        ("payload", Box::new(write))
    };
    match load {
        Load::InputLink => meta(6),
        Load::OutputLink => meta(7),
        Load::Family => meta(15),
        Load::Protocol => meta(16),
        Load::Network { offset, length } => payload(1, offset, length),
        Load::Transport { offset, length } => payload(2, offset, length),
        Load::Conntrack => {
            let write = |it: &mut Message| {
                word(it, 1, REGISTER);
                word(it, 2, 0);
            };
            ("ct", Box::new(write))
        }
    }
}

fn bitwise(it: &mut Message, mask: &[u8]) {
    let length = u32::try_from(mask.len()).unwrap_or(u32::MAX);
    for (kind, value) in [(1, REGISTER), (2, REGISTER), (3, length)] {
        word(it, kind, value);
    }
    it.nest(4, |data| data.attribute(1, mask));
    it.nest(5, |data| data.attribute(1, &vec![0; mask.len()]));
}

fn compare(it: &mut Message, operator: u32, value: &[u8]) {
    word(it, 1, REGISTER);
    word(it, 2, operator);
    it.nest(3, |data| data.attribute(1, value));
}

fn lookup(it: &mut Message, set: u32, flags: u32) {
    it.text(1, SET_NAME);
    word(it, 2, REGISTER);
    word(it, 4, set);
    word(it, 5, flags);
}

fn limit(it: &mut Message, per_second: u64) {
    const SECOND: u64 = 1;
    const PACKETS: u32 = 0;
    it.attribute(1, &per_second.to_be_bytes());
    it.attribute(2, &SECOND.to_be_bytes());
    word(it, 3, u32::try_from(per_second).unwrap_or(u32::MAX));
    word(it, 4, PACKETS);
}

fn count(it: &mut Message) {
    it.attribute(1, &0_u64.to_be_bytes());
    it.attribute(2, &0_u64.to_be_bytes());
}

fn judge(it: &mut Message, verdict: Verdict) {
    word(it, 1, VERDICT_REGISTER);
    it.nest(2, |data| data.nest(2, |code| word(code, 1, verdict.number())));
}

//! Tables of nftables: programmed as a whole, at once, and read back.
//!
//! A table is replaced in one transaction of the kernel: packets see the old rules or the new ones, and what the kernel
//! refuses changes nothing. Rules carry a comment, by which whoever reads them back knows that they are the ones that
//! were written; `nft list` shows it.

mod steps;

use std::collections::BTreeMap;

use crate::Result;
use crate::error::failed;
use crate::netlink::{Flags, Message, Socket, attributes, text};

use self::steps::step;

/// Tables that see both IPv4 and IPv6.
const FAMILY_INET: u8 = 1;
/// The number of nftables among the packet filters.
const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
/// `struct nfgenmsg`: family, version, number of the resource.
const HEADER: usize = 4;
/// Elements of one message; more would be longer than its attribute may be.
const ELEMENTS_MAX: usize = 512;
/// Type of a comment in what the kernel keeps for us.
const COMMENT: u8 = 0;

/// Messages, by their number within the subsystem.
mod message {
    pub const NEW_TABLE: u16 = 0;
    pub const GET_TABLE: u16 = 1;
    pub const DELETE_TABLE: u16 = 2;
    pub const NEW_CHAIN: u16 = 3;
    pub const GET_CHAIN: u16 = 4;
    pub const NEW_RULE: u16 = 6;
    pub const GET_RULE: u16 = 7;
    pub const NEW_SET: u16 = 9;
    pub const NEW_ELEMENTS: u16 = 12;
}

/// A table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// Chains by name.
    pub chains: BTreeMap<String, Chain>,
}

/// A chain that sees packets by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// `filter`, `nat` or `route`.
    pub kind: String,
    /// Where it sees them, as the kernel numbers it.
    pub hook: u32,
    /// When it sees them.
    pub priority: i32,
    /// What becomes of those that no rule judges.
    pub policy: Verdict,
    /// Rules in order.
    pub rules: Vec<Rule>,
}

/// A rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// What it does, in order, as long as every comparison holds.
    pub expressions: Vec<Expression>,
    /// By which it is known again, at most 100 bytes.
    pub comment: String,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    /// It is lost.
    #[default]
    Drop,
    /// It goes on.
    Accept,
}

impl Verdict {
    const fn number(self) -> u32 {
        match self {
            Self::Drop => 0,
            Self::Accept => 1,
        }
    }
}

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// Name of the link that the packet came by, sixteen bytes.
    InputLink,
    /// Name of the link that it leaves by, sixteen bytes.
    OutputLink,
    /// The family of its addresses, a byte: 2 or 10.
    Family,
    /// The protocol above IP, a byte.
    Protocol,
    /// What is known of its connection: four bytes in this machine's order.
    Conntrack,
    /// Bytes of its IP header.
    Network {
        /// From here.
        offset: u32,
        /// So many.
        length: u32,
    },
    /// Bytes of the header above IP.
    Transport {
        /// From here.
        offset: u32,
        /// So many.
        length: u32,
    },
}

/// The type of elements, which `nft` shows them by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElementType {
    /// An address of IPv4.
    Ipv4,
    /// An address of IPv6.
    Ipv6,
    /// A port.
    Port,
    /// A type of ICMP messages.
    Icmp,
    /// The name of a link.
    Link,
}

impl ElementType {
    /// As `nft` numbers them, and their size in bytes.
    const fn numbers(self) -> (u32, u32) {
        match self {
            Self::Ipv4 => (7, 4),
            Self::Ipv6 => (8, 16),
            Self::Port => (13, 2),
            Self::Icmp => (14, 1),
            Self::Link => (41, 16),
        }
    }
}

/// Values to compare with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Elements {
    /// These.
    Values(Vec<Vec<u8>>),
    /// What is in one of these ranges: first and last, in network order, ascending and apart from each other.
    Ranges(Vec<(Vec<u8>, Vec<u8>)>),
}

/// A step of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expression {
    /// Looks at something.
    Load(Load),
    /// Of what was looked at, only these bits count.
    Mask(Vec<u8>),
    /// It must be this.
    Equal(Vec<u8>),
    /// It must be something else.
    NotEqual(Vec<u8>),
    /// It must be among these.
    Among(ElementType, Elements),
    /// It must not be among these.
    NotAmong(ElementType, Elements),
    /// There must not be more packets than so many a second, with as many at once.
    Limit(u64),
    /// Packets that come so far are counted.
    Count,
    /// This becomes of them.
    Judge(Verdict),
}

/// A chain as the kernel has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Programmed {
    /// Where it sees packets.
    pub hook: u32,
    /// When it sees them.
    pub priority: i32,
    /// What becomes of those that no rule judges, as the kernel numbers it.
    pub policy: u32,
    /// Comments of its rules, in order.
    pub comments: Vec<String>,
}

impl Chain {
    /// What reading it back must give.
    #[must_use]
    pub fn programmed(&self) -> Programmed {
        Programmed {
            hook: self.hook,
            priority: self.priority,
            policy: self.policy.number(),
            comments: self.rules.iter().map(|rule| rule.comment.clone()).collect(),
        }
    }
}

/// Puts the table in the place of the one of its name. It is gone when it has no chains.
///
/// # Errors
/// When the kernel refuses; nothing has changed then.
pub fn replace(table: &Table) -> Result<()> {
    let action = "program the table";
    let mut socket = Socket::netfilter().map_err(failed("open", "a netlink socket"))?;
    // The name exists in any case when it is deleted, and is free when it is made.
    let mut messages = vec![batch(BATCH_BEGIN), new_table(table, Flags::APPEND)];
    if table.chains.is_empty() {
        messages.push(of_table(message::DELETE_TABLE, Flags::ACK, &table.name));
    } else {
        messages.push(of_table(message::DELETE_TABLE, Flags::REQUEST, &table.name));
        messages.push(new_table(table, Flags::APPEND));
        for (name, chain) in &table.chains {
            messages.push(new_chain(table, name, chain));
        }
        let mut sets = 0;
        for (name, chain) in &table.chains {
            for rule in &chain.rules {
                new_rule(table, name, rule, &mut sets, &mut messages);
            }
        }
        messages.push(new_table(table, Flags::ACK));
    }
    messages.push(batch(BATCH_END));
    socket.transact(messages).map_err(failed(action, &table.name))
}

/// The chains of a table; `None` if there is no such table.
///
/// # Errors
/// When the kernel refuses, or has no nftables.
pub fn read(table: &str) -> Result<Option<BTreeMap<String, Programmed>>> {
    let action = "read the table";
    let mut socket = Socket::netfilter().map_err(failed("open", "a netlink socket"))?;
    match socket.exchange(of_table(message::GET_TABLE, Flags::ACK, table)) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(None),
        result => result.map_err(failed(action, table))?,
    };
    let list = |kind| begin(kind, Flags::DUMP);
    let chains = socket.exchange(list(message::GET_CHAIN)).map_err(failed(action, table))?;
    let mut found: BTreeMap<_, _> = chains.iter().filter_map(|body| chain_of(body, table)).collect();
    let rules = socket.exchange(list(message::GET_RULE)).map_err(failed(action, table))?;
    for (chain, comment) in rules.iter().filter_map(|body| rule_of(body, table)) {
        if let Some(chain) = found.get_mut(&chain) {
            chain.comments.push(comment);
        }
    }
    Ok(Some(found))
}

fn batch(kind: u16) -> Message {
    let mut message = Message::new(kind, Flags::REQUEST);
    let [high, low] = SUBSYSTEM.to_be_bytes();
    message.bytes(&[0, 0, high, low]);
    message
}

fn begin(kind: u16, flags: Flags) -> Message {
    let mut message = Message::new(SUBSYSTEM << 8 | kind, flags);
    message.bytes(&[FAMILY_INET, 0, 0, 0]);
    message
}

/// Attributes that name tables are the first of all messages.
fn of_table(kind: u16, flags: Flags, table: &str) -> Message {
    let mut message = begin(kind, flags);
    message.text(1, table);
    message
}

fn new_table(table: &Table, flags: Flags) -> Message {
    of_table(message::NEW_TABLE, flags, &table.name)
}

fn word(message: &mut Message, kind: u16, value: u32) {
    message.attribute(kind, &value.to_be_bytes());
}

fn new_chain(table: &Table, name: &str, chain: &Chain) -> Message {
    let mut message = of_table(message::NEW_CHAIN, Flags::APPEND, &table.name);
    message.text(3, name);
    message.nest(4, |hook| {
        word(hook, 1, chain.hook);
        hook.attribute(2, &chain.priority.to_be_bytes());
    });
    word(&mut message, 5, chain.policy.number());
    message.text(7, &chain.kind);
    message
}

/// A rule, and before it the sets that it looks into, which have no name and go with it.
fn new_rule(table: &Table, chain: &str, rule: &Rule, sets: &mut u32, out: &mut Vec<Message>) {
    let mut message = of_table(message::NEW_RULE, Flags::APPEND, &table.name);
    message.text(2, chain);
    let first = *sets + 1;
    for expression in &rule.expressions {
        if let Expression::Among(kind, elements) | Expression::NotAmong(kind, elements) = expression {
            *sets += 1;
            new_set(table, *sets, *kind, elements, out);
        }
    }
    message.nest(4, |list| {
        let mut set = first;
        for expression in &rule.expressions {
            let (name, write) = step(expression, set);
            set += u32::from(matches!(expression, Expression::Among(..) | Expression::NotAmong(..)));
            list.nest(1, |element| {
                element.text(1, name);
                element.nest(2, write);
            });
        }
    });
    let length = u8::try_from(rule.comment.len() + 1).unwrap_or(u8::MAX);
    message.attribute(7, &[&[COMMENT, length], rule.comment.as_bytes(), &[0]].concat());
    out.push(message);
}

const ANONYMOUS: u32 = 1;
const CONSTANT: u32 = 2;
const INTERVAL: u32 = 4;
/// Marks an element that ends a range: the first value after it.
const INTERVAL_END: u32 = 1;
/// The kernel makes a name of it.
const SET_NAME: &str = "__set%d";

fn new_set(table: &Table, id: u32, kind: ElementType, elements: &Elements, out: &mut Vec<Message>) {
    let is_interval = matches!(elements, Elements::Ranges(_));
    let (number, length) = kind.numbers();
    let mut message = of_table(message::NEW_SET, Flags::APPEND, &table.name);
    message.text(2, SET_NAME);
    word(&mut message, 3, ANONYMOUS | CONSTANT | if is_interval { INTERVAL } else { 0 });
    word(&mut message, 4, number);
    word(&mut message, 5, length);
    word(&mut message, 10, id);
    out.push(message);
    let keys = keys(elements);
    for part in keys.chunks(ELEMENTS_MAX) {
        let mut message = of_table(message::NEW_ELEMENTS, Flags::APPEND, &table.name);
        message.text(2, SET_NAME);
        message.nest(3, |list| {
            for (key, is_end) in part {
                list.nest(1, |element| {
                    element.nest(1, |data| data.attribute(1, key));
                    if *is_end {
                        word(element, 3, INTERVAL_END);
                    }
                });
            }
        });
        word(&mut message, 4, id);
        out.push(message);
    }
}

/// Keys of a set, and whether each is the end of a range.
fn keys(elements: &Elements) -> Vec<(Vec<u8>, bool)> {
    match elements {
        Elements::Values(values) => values.iter().map(|value| (value.clone(), false)).collect(),
        Elements::Ranges(ranges) => ranges
            .iter()
            .flat_map(|(first, last)| {
                let end = successor(last).map(|end| (end, true));
                std::iter::once((first.clone(), false)).chain(end)
            })
            .collect(),
    }
}

/// The number after this one, in network order; `None` after the last.
fn successor(bytes: &[u8]) -> Option<Vec<u8>> {
    let at = bytes.iter().rposition(|byte| *byte != u8::MAX)?;
    let next = bytes.iter().enumerate().map(|(index, byte)| match index.cmp(&at) {
        std::cmp::Ordering::Less => *byte,
        std::cmp::Ordering::Equal => byte + 1,
        std::cmp::Ordering::Greater => 0,
    });
    Some(next.collect())
}

/// A number in network order at the begin of an attribute.
fn number(value: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(*value.first_chunk()?))
}

/// The chain that a message tells of, if it is one of the table.
fn chain_of(body: &[u8], table: &str) -> Option<(String, Programmed)> {
    let (mut name, mut chain, mut is_ours) = (None, Programmed::default(), false);
    let is_inet = body.first() == Some(&FAMILY_INET);
    for (kind, value) in attributes(body.get(HEADER..)?) {
        match kind {
            1 => is_ours = is_inet && text(value) == table,
            3 => name = Some(text(value)),
            4 => {
                for (kind, value) in attributes(value) {
                    match kind {
                        1 => chain.hook = number(value)?,
                        2 => chain.priority = i32::from_be_bytes(*value.first_chunk()?),
                        _ => {}
                    }
                }
            }
            5 => chain.policy = number(value)?,
            _ => {}
        }
    }
    name.filter(|_| is_ours).map(|name| (name, chain))
}

/// Chain and comment of the rule that a message tells of, if it is one of the table.
fn rule_of(body: &[u8], table: &str) -> Option<(String, String)> {
    let (mut chain, mut comment, mut is_ours) = (None, String::new(), false);
    let is_inet = body.first() == Some(&FAMILY_INET);
    for (kind, value) in attributes(body.get(HEADER..)?) {
        match kind {
            1 => is_ours = is_inet && text(value) == table,
            2 => chain = Some(text(value)),
            7 if value.first() == Some(&COMMENT) => comment = text(value.get(2..)?),
            _ => {}
        }
    }
    chain.filter(|_| is_ours).map(|chain| (chain, comment))
}

#[cfg(test)]
mod tests;

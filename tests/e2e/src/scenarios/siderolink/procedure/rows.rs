//! The table. A machine that is known joined before with its own token (`WithToken`), or with the join token alone
//! (`WithoutToken`); `Reimaged` is its network card with another token, `Other` another machine with its UUID.

use tonic::Code;

use Becomes::{Conflict, Link, Pending};
use Known::{No, WithToken, WithoutToken};

/// The join token that a machine shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Join {
    /// None at all.
    None,
    /// The default one.
    Good,
    /// One that nobody made.
    Unknown,
    /// One that cannot be read.
    Damaged,
    /// The default one with data, version 1.
    V1,
    /// Data that somebody else signed, version 1.
    V1Forged,
    /// The default one with the name of a registered provider, version 1.
    V1OfProvider,
    /// The default one with the name of a provider that is not registered, version 1.
    V1OfNobody,
    /// The default one with data, version 2.
    V2,
    /// Data that somebody else signed, version 2.
    V2Forged,
    /// The name of a provider that is not registered, whose own token counts in version 2.
    V2OfNobody,
}

/// The unique token that a machine shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unique {
    /// The field is absent.
    Absent,
    /// It was never given one.
    Never,
    /// Its own.
    Own,
    /// Another one with the fingerprint of its own.
    Reimaged,
    /// One with another fingerprint.
    Other,
    /// One that cannot be read.
    Damaged,
}

/// What the manager knows of a machine before it calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// Nothing.
    No,
    /// It has a link with its unique token.
    WithToken,
    /// It has a link without.
    WithoutToken,
}

/// What becomes of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Becomes {
    /// It has a link with the key of this call.
    Link,
    /// It waits for its unique token.
    Pending,
    /// It waits for another UUID.
    Conflict,
    /// It is refused.
    Refused(Code),
}

impl Becomes {
    /// The end of a sentence.
    pub fn words(self) -> String {
        match self {
            Self::Link => "is let in".to_owned(),
            Self::Pending => "becomes reachable, to be given a token".to_owned(),
            Self::Conflict => "becomes reachable, to be given another UUID".to_owned(),
            Self::Refused(code) => format!("is refused: {code:?}"),
        }
    }
}

/// What a machine says.
#[derive(Clone, Copy, Debug)]
pub struct Says {
    /// What it runs; empty when it does not say.
    pub version: &'static str,
    /// Its join token.
    pub join: Join,
    /// Its unique token.
    pub unique: Unique,
    /// It has a UUID.
    pub has_uuid: bool,
    /// Its WireGuard key is one.
    pub has_key: bool,
}

/// A call.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Who calls.
    pub who: &'static str,
    /// What it says.
    pub says: Says,
    /// What the manager knows of it before.
    pub known: Known,
    /// What becomes of it.
    pub becomes: Becomes,
}

/// A machine of today with a good join token that was never given a token of its own.
pub const NEW: Says = says("v1.13.0", Join::Good, Unique::Never);
/// A machine from before unique tokens, with a good join token.
pub const OLD: Says = says("v1.5.5", Join::Good, Unique::Absent);

const DENIED: Becomes = Becomes::Refused(Code::PermissionDenied);
const TOO_OLD: Becomes = Becomes::Refused(Code::FailedPrecondition);
const INVALID: Becomes = Becomes::Refused(Code::InvalidArgument);
const NO_PROVIDER: Becomes = Becomes::Refused(Code::NotFound);
const NO_ROOM: Becomes = Becomes::Refused(Code::ResourceExhausted);

const fn says(version: &'static str, join: Join, unique: Unique) -> Says {
    Says { version, join, unique, has_uuid: true, has_key: true }
}

/// A machine of today.
const fn new(join: Join, unique: Unique) -> Says {
    says(NEW.version, join, unique)
}

/// A machine from before unique tokens.
const fn old(join: Join) -> Says {
    says(OLD.version, join, Unique::Absent)
}

const fn row(who: &'static str, says: Says, known: Known, becomes: Becomes) -> Row {
    Row { who, says, known, becomes }
}

/// Mode `legacyAllowed`.
pub const ALLOWED: &[Row] = &[
    row("an old machine with a good token", OLD, No, Link),
    row("a machine that does not say what it runs", says("", Join::Good, Unique::Never), No, Link),
    row("an old machine without a token", old(Join::None), No, DENIED),
    row("an old machine with an unknown token", old(Join::Unknown), No, DENIED),
    row("an old machine that is known", OLD, WithoutToken, Link),
    row("an old machine with the UUID of one that has a token of its own", OLD, WithToken, DENIED),
    row("a new machine", NEW, No, Pending),
    row("a new machine that leaves the field out", new(Join::Good, Unique::Absent), No, Pending),
    row("a machine with a token of its own", new(Join::Good, Unique::Own), No, Link),
    row("a known machine", new(Join::Good, Unique::Own), WithToken, Link),
    row("a known machine without a join token", new(Join::None, Unique::Own), WithToken, Link),
    row("a known machine with a wrong join token", new(Join::Unknown, Unique::Own), WithToken, Link),
    row("a known machine that lost its token", NEW, WithToken, Pending),
    row("a known machine that got its first token", new(Join::Good, Unique::Own), WithoutToken, Link),
    row("a known machine with a new disk", new(Join::Good, Unique::Reimaged), WithToken, Link),
    row("the same without a join token", new(Join::None, Unique::Reimaged), WithToken, DENIED),
    row("another machine with its UUID", new(Join::Good, Unique::Other), WithToken, Conflict),
    row("the same without a join token", new(Join::None, Unique::Other), WithToken, DENIED),
    row("a machine with a token that nobody knows", new(Join::None, Unique::Own), No, DENIED),
    row("a new machine without a token", new(Join::None, Unique::Never), No, DENIED),
    row("a new machine with an unknown token", new(Join::Unknown, Unique::Never), No, DENIED),
    row("a machine with a damaged join token", new(Join::Damaged, Unique::Own), WithToken, DENIED),
    row("a machine with a damaged token of its own", new(Join::Good, Unique::Damaged), WithToken, DENIED),
    row("a machine without a UUID", Says { has_uuid: false, ..NEW }, No, INVALID),
    row("a machine without a key", Says { has_key: false, ..NEW }, No, INVALID),
    row("a machine with a signed token, version 1,", new(Join::V1, Unique::Own), No, Link),
    row("a machine with a signed token, version 2,", new(Join::V2, Unique::Own), No, Link),
    row("a machine with a forged token, version 1,", new(Join::V1Forged, Unique::Own), No, DENIED),
    row("a machine with a forged token, version 2,", new(Join::V2Forged, Unique::Own), No, DENIED),
    row("a machine of a provider", new(Join::V1OfProvider, Unique::Own), No, Link),
    row("a machine of an unknown provider", new(Join::V1OfNobody, Unique::Own), No, NO_PROVIDER),
    row("a new machine of an unknown provider", new(Join::V1OfNobody, Unique::Never), No, NO_PROVIDER),
    row("a machine by the token of an unknown provider", new(Join::V2OfNobody, Unique::Own), No, DENIED),
];

/// Mode `strict`.
pub const STRICT: &[Row] = &[
    row("an old machine with a good token", OLD, No, TOO_OLD),
    row("an old machine that is known", OLD, WithoutToken, TOO_OLD),
    row("an old machine without a token", old(Join::None), No, TOO_OLD),
    row("a machine that does not say what it runs", says("", Join::Good, Unique::Own), No, TOO_OLD),
    row("a new machine", NEW, No, Pending),
    row("a machine with a token of its own", new(Join::Good, Unique::Own), No, Link),
    row("a known machine without a join token", new(Join::None, Unique::Own), WithToken, Link),
    row("another machine with its UUID", new(Join::Good, Unique::Other), WithToken, Conflict),
    row("a new machine with an unknown token", new(Join::Unknown, Unique::Never), No, DENIED),
];

/// Mode `legacy`.
pub const LEGACY: &[Row] = &[
    row("an old machine with a good token", OLD, No, Link),
    row("a new machine", NEW, No, Link),
    row("a machine with a token of its own", new(Join::Good, Unique::Own), No, Link),
    row("a known machine without a token of its own", NEW, WithoutToken, Link),
    row("a machine that has a token of its own", new(Join::Good, Unique::Own), WithToken, DENIED),
    row("the same without a join token", new(Join::None, Unique::Own), WithToken, DENIED),
    row("a new machine with an unknown token", new(Join::Unknown, Unique::Never), No, DENIED),
    row("a machine of an unknown provider", new(Join::V1OfNobody, Unique::Never), No, NO_PROVIDER),
];

/// Mode `legacyAllowed`, where as many machines have joined as may.
pub const FULL: &[Row] = &[
    row("one machine too many", new(Join::Good, Unique::Own), No, NO_ROOM),
    row("one new machine too many", NEW, No, NO_ROOM),
    row("one old machine too many", OLD, No, NO_ROOM),
    row("one without a token", new(Join::None, Unique::Own), No, DENIED),
    row("a known machine", new(Join::Good, Unique::Own), WithToken, Link),
];

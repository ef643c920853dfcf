//! Words of the configuration that stand for one of a few choices.

/// A choice: an enumeration whose variants have words.
macro_rules! words {
    (
        $(#[$meta:meta])*
        pub enum $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $word:literal,)+ }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub enum $name { $($(#[$variant_meta])* $variant,)+ }

        impl $name {
            /// The words, in the order of the variants.
            pub const WORDS: &'static [&'static str] = &[$($word),+];

            /// What a word means.
            pub(crate) fn of(word: &str) -> Option<Self> {
                match word {
                    $($word => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }
    };
}

words! {
    /// Least level that is logged.
    pub enum Level {
        /// Everything.
        Debug = "debug",
        /// What happens in the usual course.
        #[default]
        Info = "info",
        /// What should not happen and is dealt with.
        Warn = "warn",
        /// What somebody has to look at.
        Error = "error",
    }
}

words! {
    /// Whether machines need tokens of their own.
    pub enum JoinTokensMode {
        /// All need one; systems that cannot have one are refused.
        Strict = "strict",
        /// All that can have one need one.
        #[default]
        LegacyAllowed = "legacyAllowed",
        /// None needs one.
        Legacy = "legacy",
    }
}

words! {
    /// Who does TCP in the tunnels to machines.
    pub enum TunnelStack {
        /// The kernel where the host allows a namespace with a TUN device, and a stack in user space elsewhere.
        #[default]
        Auto = "auto",
        /// The kernel; without a namespace the manager does not start.
        Kernel = "kernel",
        /// A stack in user space for each machine.
        Userspace = "userspace",
    }
}

words! {
    /// Where resources are kept.
    pub enum StorageKind {
        /// In a file of the manager.
        #[default]
        Embedded = "embedded",
        /// In an etcd that somebody else runs.
        Etcd = "etcd",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_means_its_variant() {
        assert_eq!(Level::of("warn"), Some(Level::Warn));
        assert_eq!(Level::WORDS, ["debug", "info", "warn", "error"]);
        assert_eq!(JoinTokensMode::of("legacyAllowed"), Some(JoinTokensMode::default()));
        assert_eq!(StorageKind::of("boltdb"), None);
    }
}

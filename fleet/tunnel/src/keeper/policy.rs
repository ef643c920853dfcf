//! Where a connection goes: the manager's own process, a keeper, a new keeper, or nowhere.
//!
//! ```text
//! 0 ───────── own ──────────── own_max ───────────────────────────────── open files of the process
//!   stay here     on the way to keepers     files, clients of the API, everything else
//! ```

/// Keepers at most.
const KEEPERS_MAX: usize = 16;
/// Of the open files that a process may have, so many in a hundred stay in the manager for connections of machines.
const OWN_PERCENT: usize = 40;
/// With those that are being made or are on their way to a keeper.
const OWN_MAX_PERCENT: usize = 50;
/// Share of its open files that a keeper takes.
const KEEPER_PERCENT: usize = 80;

/// How many sockets there may be where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Sockets that stay in the manager.
    pub own: usize,
    /// Sockets in the manager with those that are on their way to a keeper.
    pub own_max: usize,
    /// Sockets of one keeper.
    pub keeper: usize,
    /// Keepers.
    pub keepers: usize,
}

/// Where a connection goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goes {
    /// It stays in the manager.
    Here,
    /// To the keeper at this place.
    Keeper(usize),
    /// To a keeper that is to be started.
    NewKeeper,
    /// There is no room.
    Nowhere,
}

impl Limits {
    /// What a process may take that may have so many open files; its keepers may have as many each.
    #[must_use]
    pub const fn of(open_files: usize) -> Self {
        // Without a limit, so many are as good as any number, and nothing overflows.
        let open_files = if open_files > 1 << 24 { 1 << 24 } else { open_files };
        Self {
            own: open_files * OWN_PERCENT / 100,
            own_max: open_files * OWN_MAX_PERCENT / 100,
            keeper: open_files * KEEPER_PERCENT / 100,
            keepers: KEEPERS_MAX,
        }
    }

    /// Where one more goes when the manager has `own` already, and the keepers what `kept` says. The manager is filled
    /// first, then each keeper in turn, so that there are as few of them as can be.
    #[must_use]
    pub fn decide(&self, own: usize, kept: impl IntoIterator<Item = usize>) -> Goes {
        if own < self.own {
            return Goes::Here;
        }
        if own >= self.own_max {
            return Goes::Nowhere;
        }
        let mut count = 0;
        for sockets in kept {
            if sockets < self.keeper {
                return Goes::Keeper(count);
            }
            count += 1;
        }
        if count < self.keepers && self.keeper > 0 { Goes::NewKeeper } else { Goes::Nowhere }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manager_is_filled_first_then_each_keeper_and_what_is_kept_for_files_is_never_taken() {
        let limits = Limits { own: 4, own_max: 5, keeper: 8, keepers: 2 };
        for (own, kept, goes) in [
            (0, &[][..], Goes::Here),
            (3, &[8, 8][..], Goes::Here),
            (4, &[][..], Goes::NewKeeper),
            (4, &[7][..], Goes::Keeper(0)),
            (4, &[8][..], Goes::NewKeeper),
            (4, &[8, 0][..], Goes::Keeper(1)),
            (4, &[7, 0][..], Goes::Keeper(0)),
            (4, &[8, 8][..], Goes::Nowhere),
            (5, &[0][..], Goes::Nowhere),
        ] {
            assert_eq!(limits.decide(own, kept.iter().copied()), goes, "{own} {kept:?}");
        }
    }

    #[test]
    fn ten_thousand_machines_with_three_connections_each_fit_into_what_a_host_allows() {
        let limits = Limits::of(20_000);
        assert_eq!(limits, Limits { own: 8000, own_max: 10_000, keeper: 16_000, keepers: KEEPERS_MAX });
        let kept = |connections: usize| connections - limits.own;
        assert!(kept(30_000).div_ceil(limits.keeper) <= 2);
        assert_eq!(Limits::of(usize::MAX).decide(1 << 20, []), Goes::Here);
        assert_eq!(Limits::of(0).decide(0, []), Goes::Nowhere);
    }
}

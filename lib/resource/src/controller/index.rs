//! Which resources concern which item, and which items are to be looked at again.
//!
//! Filled by the store under its lock, change by change; read by the runner of the controller, which takes the store's
//! lock first where it needs both.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::item::Concern;
use super::wake::{Interest, Wake};
use crate::memory::Listener;
use crate::metadata::Pointer;
use crate::resource::AnyResource;
use crate::store::Change;

/// Ids of resources, sorted. Most items have one of a type, and there are thousands of items of dozens of types: a set
/// would take many times what is in it.
#[derive(Debug, Default)]
struct Ids(Vec<Box<str>>);

impl Ids {
    fn insert(&mut self, id: &str) {
        if let Err(place) = self.place(id) {
            if self.0.is_empty() {
                self.0.reserve_exact(1);
            }
            self.0.insert(place, id.into());
        }
    }

    fn remove(&mut self, id: &str) {
        if let Ok(place) = self.place(id) {
            self.0.remove(place);
        }
    }

    fn place(&self, id: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|known| (**known).cmp(id))
    }

    fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|id| &**id)
    }
}

/// Resources of one input or output by the items that they concern.
#[derive(Debug, Default)]
struct Row {
    by_item: BTreeMap<Box<str>, Ids>,
    everywhere: BTreeSet<String>,
}

impl Row {
    fn add(&mut self, concern: Concern, id: &str) {
        match concern {
            Concern::Nobody => {}
            Concern::Item(item) => self.by_item.entry(item.into()).or_default().insert(id),
            Concern::Items(items) => {
                for item in items {
                    self.by_item.entry(item.into()).or_default().insert(id);
                }
            }
            Concern::Everybody => drop(self.everywhere.insert(id.to_owned())),
        }
    }

    fn remove(&mut self, concern: Concern, id: &str) {
        let mut leave = |item: &String| {
            if let Some(ids) = self.by_item.get_mut(item.as_str()) {
                ids.remove(id);
                if ids.0.is_empty() {
                    self.by_item.remove(item.as_str());
                }
            }
        };
        match concern {
            Concern::Nobody => {}
            Concern::Item(item) => leave(&item),
            Concern::Items(items) => items.iter().for_each(leave),
            Concern::Everybody => drop(self.everywhere.remove(id)),
        }
    }
}

/// The index of one controller.
#[derive(Debug, Default)]
pub struct Index {
    /// Inputs, and outputs of the controller itself, apart, since a type may be both.
    inputs: BTreeMap<Pointer, Row>,
    outputs: BTreeMap<Pointer, Row>,
    /// Items to look at again, and how long that may wait.
    dirty: BTreeMap<String, Duration>,
    is_all_dirty: bool,
}

impl Index {
    /// An empty index that has every item looked at once.
    pub fn new() -> Self {
        Self { is_all_dirty: true, ..Self::default() }
    }

    /// Inputs of a type that concern an item, by id.
    pub fn inputs(&self, kind: &Pointer, item: &str) -> Vec<String> {
        let Some(row) = self.inputs.get(kind) else { return Vec::new() };
        let own = row.by_item.get(item).into_iter().flat_map(Ids::iter);
        let everywhere = row.everywhere.iter().map(String::as_str);
        let mut ids: Vec<String> = own.chain(everywhere).map(str::to_owned).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// Outputs of a type that were put for an item.
    pub fn outputs(&self, kind: &Pointer, item: &str) -> Vec<Pointer> {
        let ids = self.outputs.get(kind).and_then(|row| row.by_item.get(item)).into_iter();
        let ids = ids.flat_map(Ids::iter);
        ids.map(|id| Pointer::new(&kind.namespace, &kind.kind, id)).collect()
    }

    /// Items to look at again and how long that may wait; nothing is left of them here.
    pub fn take_dirty(&mut self) -> BTreeMap<String, Duration> {
        let mut dirty = std::mem::take(&mut self.dirty);
        if std::mem::take(&mut self.is_all_dirty) {
            let rows = self.inputs.values().chain(self.outputs.values());
            let items = rows.flat_map(|row| row.by_item.keys());
            dirty.extend(items.map(|item| (String::from(&**item), Duration::ZERO)));
        }
        dirty
    }

    /// Has an item looked at again, `patience` from now at the latest. A setting does not wait.
    pub fn mark(&mut self, concern: Concern, patience: Duration) {
        let mut mark = |item| {
            let left = self.dirty.entry(item).or_insert(patience);
            *left = patience.min(*left);
        };
        match concern {
            Concern::Nobody => {}
            Concern::Item(item) => mark(item),
            Concern::Items(items) => items.into_iter().for_each(mark),
            Concern::Everybody => self.is_all_dirty = true,
        }
    }
}

/// The store's end of one row.
pub struct Feed {
    pub index: Arc<Mutex<Index>>,
    pub wake: Arc<Wake>,
    pub kind: Pointer,
    pub interest: Interest,
    pub concern: fn(&AnyResource) -> Concern,
    pub patience: fn(&AnyResource) -> Duration,
}

impl Feed {
    /// Which items a resource concerns. This is asked under the store's lock, so a panic must not get out.
    fn concern(&self, resource: &AnyResource) -> Concern {
        catch_unwind(AssertUnwindSafe(|| (self.concern)(resource))).unwrap_or(Concern::Everybody)
    }

    /// How long a change of a resource may wait.
    fn patience(&self, resource: &AnyResource) -> Duration {
        catch_unwind(AssertUnwindSafe(|| (self.patience)(resource))).unwrap_or(Duration::ZERO)
    }

    fn row<'a>(&self, index: &'a mut Index) -> &'a mut Row {
        let rows = match self.interest {
            Interest::Own(_) => &mut index.outputs,
            Interest::Any | Interest::DestroyReady => &mut index.inputs,
        };
        rows.entry(self.kind.clone()).or_default()
    }
}

impl Listener for Feed {
    fn changed(&self, change: &Change) {
        let Some(resource) = change.resource().filter(|resource| self.interest.covers(resource)) else {
            return;
        };
        let (concern, patience) = (self.concern(resource), self.patience(resource));
        let mut index = self.index.lock();
        match change {
            Change::Created(new) => self.row(&mut index).add(concern.clone(), new.id()),
            Change::Updated { new, old } => {
                let was = self.concern(old);
                if was != concern {
                    let row = self.row(&mut index);
                    row.remove(was.clone(), old.id());
                    row.add(concern.clone(), new.id());
                    index.mark(was, patience);
                }
            }
            Change::Destroyed(old) => self.row(&mut index).remove(concern.clone(), old.id()),
            Change::Bootstrapped | Change::Errored(_) | Change::Noop => {}
        }
        if self.interest.matches(change) {
            index.mark(concern, patience);
            drop(index);
            self.wake.fire();
        }
    }

    fn refused(&self, change: &Change) {
        if let Some(resource) = change.resource() {
            self.index.lock().mark(self.concern(resource), Duration::ZERO);
            self.wake.fire();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_that_names_another_item_leaves_the_first() {
        let mut row = Row::default();
        row.add(Concern::Items(vec!["a".to_owned(), "b".to_owned()]), "x");
        row.remove(Concern::Item("a".to_owned()), "x");
        assert_eq!(row.by_item.keys().map(|item| &**item).collect::<Vec<_>>(), ["b"]);
    }

    #[test]
    fn ids_are_sorted_and_there_once() {
        let mut ids = Ids::default();
        for id in ["b", "a", "c", "a"] {
            ids.insert(id);
        }
        ids.remove("b");
        ids.remove("x");
        assert_eq!(ids.iter().collect::<Vec<_>>(), ["a", "c"]);
    }

    #[test]
    fn a_setting_makes_every_item_dirty_once() {
        let mut index = Index::default();
        let kind = Pointer::to_kind("default", "Things.corten.dev");
        let row = index.inputs.entry(kind.clone()).or_default();
        row.add(Concern::Item("a".to_owned()), "a");
        row.add(Concern::Everybody, "setting");
        index.mark(Concern::Item("b".to_owned()), Duration::from_secs(1));
        index.mark(Concern::Item("b".to_owned()), Duration::from_secs(2));
        index.mark(Concern::Everybody, Duration::from_secs(3));
        let dirty = index.take_dirty().into_iter().collect::<Vec<_>>();
        assert_eq!(dirty, [("a".to_owned(), Duration::ZERO), ("b".to_owned(), Duration::from_secs(1))]);
        assert!(index.take_dirty().is_empty());
        assert_eq!(index.inputs(&kind, "a"), ["a", "setting"]);
    }
}

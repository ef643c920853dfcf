//! Work that may panic although it should not: what it says becomes an error, and nothing of it stands on standard error.

use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::Once;

thread_local! {
    /// What a panic of this thread has said; nothing while nobody listens.
    static SAID: RefCell<Option<String>> = const { RefCell::new(None) };
}

static LISTENING: Once = Once::new();

/// Runs work to its end. An error is what a panic said, and where.
///
/// # Errors
/// When the work panics. What it worked on must not be used any more.
pub fn quietly<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    LISTENING.call_once(listen);
    let outer = SAID.replace(Some(String::new()));
    let done = panic::catch_unwind(AssertUnwindSafe(work));
    let said = SAID.replace(outer).unwrap_or_default();
    done.map_err(|_| said)
}

/// Has panics of threads that listen noted, and all others told as before.
fn listen() {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let note = |said: &RefCell<Option<String>>| match said.borrow_mut().as_mut() {
            Some(said) => {
                *said = text(info);
                true
            }
            None => false,
        };
        // A thread that is at its end has nobody who listens.
        if !SAID.try_with(note).unwrap_or(false) {
            usual(info);
        }
    }));
}

/// What a panic says, in one line.
fn text(info: &PanicHookInfo<'_>) -> String {
    let payload = info.payload();
    let said = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let said = said.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default();
    let place = info.location().map(|at| (at.file().rsplit('/').next().unwrap_or_default(), at.line()));
    let (file, line) = place.unwrap_or_default();
    format!("the database gave up: {} ({file}:{line})", said.replace('\n', " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error_with_its_place_and_the_next_work_is_not_concerned() {
        assert_eq!(quietly(|| 4), Ok(4));
        let number = 5;
        let said = quietly(|| assert_eq!(number, 6, "five\nis six")).expect_err("it panics");
        assert!(said.contains("five is six") && said.contains("(quiet.rs:"), "{said}");
        let said = quietly::<()>(|| panic!("simple")).expect_err("it panics");
        assert!(said.contains("simple"), "{said}");
        let outer = quietly::<()>(|| {
            assert!(quietly::<()>(|| panic!("inner")).is_err());
            panic!("outer");
        });
        assert!(outer.is_err_and(|said| said.contains("outer")));
        assert_eq!(quietly(|| 4), Ok(4));
    }
}

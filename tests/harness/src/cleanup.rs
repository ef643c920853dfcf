//! Things to undo when the program ends: normally, or by Ctrl-C.
//!
//! Machines do not need it (their launchers notice that the owner is gone); it is for whatever else a scenario makes on
//! the host.

use std::io::Read;
use std::sync::{Mutex, OnceLock, PoisonError};

use anyhow::{Context, Result};
use corten_sys::signal::{notify_by_pipe, number};

type Work = Box<dyn FnOnce() + Send>;

static PENDING: Mutex<Vec<(u64, Work)>> = Mutex::new(Vec::new());
static HANDLER: OnceLock<()> = OnceLock::new();

/// Work that is done when this value is dropped or the program is interrupted, whichever comes first.
#[derive(Debug)]
#[must_use = "the work is done when this is dropped"]
pub struct Cleanup {
    id: u64,
}

impl Cleanup {
    /// Registers work. Later registered work is done first.
    pub fn register(work: impl FnOnce() + Send + 'static) -> Self {
        let mut pending = PENDING.lock().unwrap_or_else(PoisonError::into_inner);
        let id = pending.iter().map(|(id, _)| id + 1).max().unwrap_or_default();
        pending.push((id, Box::new(work)));
        Self { id }
    }

    /// Leaves things as they are: the work is not done. Does not return if the program was interrupted before.
    pub fn keep(self) {
        drop(self.take());
        std::mem::forget(self);
    }

    /// The work, which is now the caller's. When an interrupt has taken it, the program ends as soon as all is undone,
    /// and must not end before that.
    fn take(&self) -> Work {
        let mut pending = PENDING.lock().unwrap_or_else(PoisonError::into_inner);
        let position = pending.iter().position(|(id, _)| *id == self.id);
        if let Some(position) = position {
            return pending.remove(position).1;
        }
        drop(pending);
        loop {
            std::thread::park();
        }
    }

    /// Makes SIGINT, SIGTERM and SIGHUP do all registered work and end the program with the customary code. Call once
    /// at the start of a program.
    pub fn handle_interrupts() -> Result<()> {
        if HANDLER.set(()).is_err() {
            return Ok(());
        }
        let mut signals = notify_by_pipe(&[number::INTERRUPT, number::TERMINATE, number::HANGUP])
            .context("cannot handle interrupts")?;
        std::thread::Builder::new()
            .name("cleanup".into())
            .spawn(move || {
                let mut signal = [0];
                if signals.read_exact(&mut signal).is_ok() {
                    run_all();
                    std::process::exit(128 + i32::from(signal[0]));
                }
            })
            .context("cannot start the cleanup thread")?;
        Ok(())
    }
}

impl Drop for Cleanup {
    fn drop(&mut self) {
        self.take()();
    }
}

fn run_all() {
    loop {
        let next = PENDING.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match next {
            Some((_, work)) => work(),
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn work_is_done_once_and_never_if_it_is_kept() {
        let count = Arc::new(AtomicU32::new(0));
        let counter = count.clone();
        drop(Cleanup::register(move || {
            counter.fetch_add(1, Ordering::SeqCst);
        }));
        let counter = count.clone();
        Cleanup::register(move || {
            counter.fetch_add(1, Ordering::SeqCst);
        })
        .keep();
        run_all();
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }
}

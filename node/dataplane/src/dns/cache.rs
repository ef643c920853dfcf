//! Answers by question, bounded in number and size; the oldest leaves first.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::wire::{self, Question};

/// Most answers kept.
const ENTRIES_MAX: usize = 2048;
/// Longest answer kept.
const ANSWER_MAX: usize = 4096;
/// All answers together.
const BYTES_MAX: usize = 1 << 20;
/// No answer is kept longer than this, seconds.
const LIFETIME_MAX: u32 = 3600;

/// The cache.
#[derive(Debug, Default)]
pub struct Cache {
    entries: HashMap<Question, Entry>,
    order: VecDeque<Question>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    answer: Vec<u8>,
    stored: Instant,
    lifetime: Duration,
}

impl Cache {
    /// A fresh answer with its TTLs lowered by its age.
    pub fn get(&self, question: &Question, now: Instant) -> Option<Vec<u8>> {
        let entry = self.entries.get(question)?;
        let age = now.saturating_duration_since(entry.stored);
        if age >= entry.lifetime {
            return None;
        }
        let mut answer = entry.answer.clone();
        wire::age(&mut answer, u32::try_from(age.as_secs()).unwrap_or(u32::MAX));
        Some(answer)
    }

    /// Keeps an answer if it says that it may be kept.
    pub fn put(&mut self, question: Question, answer: &[u8], now: Instant) {
        let Some(lifetime) = wire::lifetime(answer).map(|seconds| seconds.min(LIFETIME_MAX)) else { return };
        if lifetime == 0 || answer.len() > ANSWER_MAX {
            return;
        }
        let entry =
            Entry { answer: answer.to_vec(), stored: now, lifetime: Duration::from_secs(lifetime.into()) };
        self.bytes += answer.len();
        match self.entries.insert(question.clone(), entry) {
            Some(replaced) => self.bytes -= replaced.answer.len(),
            None => self.order.push_back(question),
        }
        self.shrink();
    }

    /// Forgets everything, as after a change of upstreams.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    fn shrink(&mut self) {
        while self.entries.len() > ENTRIES_MAX || self.bytes > BYTES_MAX {
            let Some(oldest) = self.order.pop_front() else { return };
            if let Some(entry) = self.entries.remove(&oldest) {
                self.bytes -= entry.answer.len();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(name: &str) -> (Question, Vec<u8>) {
        let query = wire::query(1, name, wire::A).expect("a name");
        let parsed = wire::parse_query(&query).expect("a query");
        let answer = wire::own_answer(&query, &parsed, &[[10, 0, 0, 1].into()]);
        (parsed.question, answer)
    }

    #[tokio::test(start_paused = true)]
    async fn answers_age_and_expire() {
        let (question, bytes) = answer("a.example");
        let mut cache = Cache::default();
        let start = Instant::now();
        cache.put(question.clone(), &bytes, start);
        let later = cache.get(&question, start + Duration::from_secs(4)).expect("still fresh");
        assert_eq!(wire::lifetime(&later), wire::lifetime(&bytes).map(|ttl| ttl - 4));
        assert_eq!(cache.get(&question, start + Duration::from_secs(10)), None);
    }

    #[tokio::test(start_paused = true)]
    async fn never_outgrows_its_bounds() {
        let mut cache = Cache::default();
        let start = Instant::now();
        for number in 0..ENTRIES_MAX + 10 {
            let (question, bytes) = answer(&format!("host-{number}.example"));
            cache.put(question.clone(), &bytes, start);
            cache.put(question, &bytes, start);
        }
        assert_eq!(cache.entries.len(), ENTRIES_MAX);
        assert_eq!(cache.order.len(), ENTRIES_MAX);
        assert_eq!(cache.bytes, cache.entries.values().map(|entry| entry.answer.len()).sum::<usize>());
        assert_eq!(cache.get(&answer("host-0.example").0, start), None, "the oldest left");
    }
}

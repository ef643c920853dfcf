//! What is wrong with etcd now, for people.

use std::time::Duration;

use tokio::time::Instant;

/// To go to another member, or to elect a leader of etcd, takes a moment and is no trouble.
const GRACE: Duration = Duration::from_secs(3);

/// Everything that may be wrong at once.
#[derive(Debug, Default)]
pub struct Trouble {
    /// Since when etcd is not followed, and why.
    lost: Option<(Instant, String)>,
    /// It takes nothing because its database is full.
    is_full: bool,
    /// What cannot be read of what somebody else wrote.
    unreadable: Option<String>,
}

impl Trouble {
    /// etcd is not followed, for this reason.
    pub fn lose(&mut self, why: String) {
        let since = self.lost.as_ref().map_or_else(Instant::now, |(since, _)| *since);
        self.lost = Some((since, why));
    }

    /// etcd is followed again.
    pub fn find(&mut self) {
        self.lost = None;
    }

    /// Whether the database of etcd is full.
    pub fn set_full(&mut self, is_full: bool) {
        self.is_full = is_full;
    }

    /// Whether the database of etcd was full when it was asked last.
    pub const fn is_full(&self) -> bool {
        self.is_full
    }

    /// Something that somebody wrote cannot be read here.
    pub fn cannot_read(&mut self, what: String) {
        self.unreadable = Some(what);
    }

    /// All of it.
    pub fn text(&self, place: &str) -> Option<String> {
        let lost = self.lost.as_ref().filter(|(since, _)| since.elapsed() >= GRACE).map(|(since, why)| {
            let seconds = since.elapsed().as_secs();
            format!(
                "the store in {place} is out of reach for {seconds} s, and what is served may be old: look \
                 after etcd; the manager tries again by itself: {why}"
            )
        });
        let full = self.is_full.then(|| full(place));
        let all: Vec<String> = [lost, full, self.unreadable.clone()].into_iter().flatten().collect();
        if all.is_empty() { None } else { Some(all.join("; ")) }
    }
}

/// What to do about a full database.
pub fn full(place: &str) -> String {
    format!(
        "the store in {place} keeps nothing now: the database of etcd has reached its quota; compact and \
         defragment it or raise --quota-backend-bytes, then take the alarm back (etcdctl alarm disarm): the \
         manager goes on by itself"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_lasts_is_told_with_what_helps_until_it_is_over() {
        let mut trouble = Trouble::default();
        trouble.lose("no answer".to_owned());
        assert_eq!(trouble.text("etcd"), None, "another member answers in a moment");
        tokio::time::advance(GRACE).await;
        trouble.lose("still no answer".to_owned());
        let text = trouble.text("etcd").expect("it lasts");
        assert!(text.contains("out of reach for 3 s") && text.contains("still no answer"), "{text}");
        trouble.set_full(true);
        trouble.find();
        let text = trouble.text("etcd").expect("another one");
        assert!(text.contains("quota") && !text.contains("out of reach"), "{text}");
        trouble.set_full(false);
        assert_eq!(trouble.text("etcd"), None);
    }
}

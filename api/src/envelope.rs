//! The envelope of answers: calls that may go to several machines answer with a list of messages, one per machine.
//!
//! One machine puts one message in, and a client of one machine takes one out.

/// A response with an envelope.
pub trait Envelope: From<Self::Message> {
    /// What one machine answers.
    type Message;

    /// The answer of the one machine that was asked; `None` if it sent an empty list.
    fn only(self) -> Option<Self::Message>;
}

macro_rules! envelope {
    ($response:ty, $message:ty) => {
        impl From<$message> for $response {
            fn from(message: $message) -> Self {
                Self { messages: vec![message] }
            }
        }

        impl Envelope for $response {
            type Message = $message;

            fn only(self) -> Option<$message> {
                self.messages.into_iter().next()
            }
        }
    };
}

include!(concat!(env!("OUT_DIR"), "/envelopes.rs"));

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{Memory, MemoryResponse};

    #[test]
    fn what_goes_in_comes_out() {
        let memory = Memory::default();
        assert_eq!(MemoryResponse::from(memory.clone()).only(), Some(memory));
        assert_eq!(MemoryResponse::default().only(), None);
    }
}

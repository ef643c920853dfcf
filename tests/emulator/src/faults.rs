//! What goes wrong on purpose.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What goes wrong with a machine; the default is nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// It drops everything that comes from the manager and sends nothing, without going down.
    pub silent: bool,
    /// Nobody can connect to its API; those who are connected stay.
    pub refuse: bool,
    /// Every answer of its API is late by so many milliseconds.
    pub delay_ms: u64,
    /// It reboots whenever it has come up.
    pub reboot_loop: bool,
    /// It claims to have this UUID.
    pub uuid: Option<String>,
    /// It claims that its first network card has this address, from which the manager makes its fingerprint.
    pub mac: Option<String>,
    /// It logs so many lines a second.
    pub log_flood: u32,
    /// Its clock is late (negative) or early by so many seconds.
    pub clock_skew_s: i64,
}

impl Faults {
    /// The faults with some of them set anew.
    ///
    /// # Errors
    /// When there is no fault of a name, or the value does not fit; nothing is set then.
    pub fn with(&self, changes: &Map<String, Value>) -> Result<Self, serde_json::Error> {
        let mut value = serde_json::to_value(self)?;
        if let Value::Object(all) = &mut value {
            all.extend(changes.iter().map(|(name, value)| (name.clone(), value.clone())));
        }
        serde_json::from_value(value)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn some_are_set_and_the_others_stay() {
        let changes = |value: Value| value.as_object().cloned().expect("an object");
        let silent = Faults::default().with(&changes(json!({"silent": true, "uuid": "x"}))).expect("set");
        let slow = silent.with(&changes(json!({"delay_ms": 5, "uuid": null}))).expect("set");
        assert_eq!(slow, Faults { silent: true, delay_ms: 5, ..Faults::default() });
        for wrong in [json!({"silence": true}), json!({"delay_ms": -1}), json!({"silent": "yes"})] {
            assert!(slow.with(&changes(wrong.clone())).is_err(), "{wrong}");
        }
    }
}

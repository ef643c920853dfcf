//! Addresses of configurations: the variables in them.

use anyhow::Context;

/// Variables that an address may have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variables {
    /// `${uuid}`.
    pub uuid: Option<String>,
    /// `${serial}`.
    pub serial: Option<String>,
    /// `${mac}`.
    pub mac: Option<String>,
    /// `${hostname}`.
    pub hostname: Option<String>,
    /// `${code}`.
    pub code: Option<String>,
}

impl Variables {
    /// Puts the variables in.
    ///
    /// # Errors
    /// When one that is used is not known yet.
    pub fn put_into(&self, address: &str) -> anyhow::Result<String> {
        let known = [
            ("uuid", &self.uuid),
            ("serial", &self.serial),
            ("mac", &self.mac),
            ("hostname", &self.hostname),
            ("code", &self.code),
        ];
        let mut result = address.to_owned();
        for (name, value) in known {
            let mark = format!("${{{name}}}");
            if result.contains(&mark) {
                let value = value
                    .as_deref()
                    .with_context(|| format!("the machine has no {name} for talos.config"))?;
                result = result.replace(&mark, &escaped(value));
            }
        }
        Ok(result)
    }
}

/// RFC 3986: everything but unreserved characters is written in hexadecimal.
fn escaped(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte);
    value
        .bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_put_in_or_missed() {
        let variables = Variables {
            uuid: Some("a-b".to_owned()),
            mac: Some("52:54:00:00:00:01".to_owned()),
            ..Variables::default()
        };
        let address = variables.put_into("http://h/${uuid}?m=${mac}&u=${uuid}").expect("known");
        assert_eq!(address, "http://h/a-b?m=52:54:00:00:00:01&u=a-b");
        let error = variables.put_into("http://h/${serial}").expect_err("unknown").to_string();
        assert!(error.contains("serial"), "{error}");
        let odd = Variables { serial: Some("a b/../c".to_owned()), ..Variables::default() };
        assert_eq!(odd.put_into("http://h/${serial}").expect("known"), "http://h/a%20b%2F..%2Fc");
    }
}

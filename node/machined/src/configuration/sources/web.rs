//! A configuration from a web server: `talos.config=http://…`.
//!
//! The network comes up at the same time and servers are restarted, so it is tried again until a deadline; then the
//! machine goes on without.

use std::time::Duration;

use anyhow::Context;
use corten_base::{Backoff, Rng, chain};
use corten_resource::State;
use corten_resources::hardware::SystemInformation;
use corten_resources::network::{HardwareAddress, HostnameStatus};
use corten_resources::runtime::MetaKey;
use corten_web::{Limits, Target};
use http::HeaderMap;

use super::CONFIG_BYTES_MAX;
use super::url::Variables;

/// How long a machine tries before it goes into maintenance.
const PATIENCE: Duration = Duration::from_secs(180);
/// Time for one attempt, redirections included.
const ATTEMPT: Duration = Duration::from_secs(30);
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15));
/// META tag with the code that a person typed in (node.md 5.6).
const CODE_TAG: &str = "0x0b";

/// Gets the configuration at this address.
///
/// # Errors
/// The last failure, when time is over; at once when the address can never work.
pub async fn fetch(address: &str, state: &State, rng: &Rng) -> anyhow::Result<Vec<u8>> {
    Target::parse(&address.replace("${", "").replace('}', ""))
        .context("talos.config must be an http or https URL, `metal-iso` or `none`")?;
    let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
    let mut failure = None;
    let tries = async {
        loop {
            match attempt(address, state).await {
                Ok(bytes) => return bytes,
                Err(error) => {
                    tracing::warn!("the configuration was not fetched: {}", chain(error.as_ref()));
                    failure = Some(error);
                }
            }
            tokio::time::sleep(backoff.next_delay(rng)).await;
        }
    };
    match tokio::time::timeout(PATIENCE, tries).await {
        Ok(bytes) => Ok(bytes),
        Err(_) => Err(failure.unwrap_or_else(|| anyhow::anyhow!("nothing answered")))
            .with_context(|| format!("gave up after {PATIENCE:?}")),
    }
}

async fn attempt(address: &str, state: &State) -> anyhow::Result<Vec<u8>> {
    let address = variables(state).put_into(address)?;
    let limits = Limits { bytes_max: CONFIG_BYTES_MAX, deadline: ATTEMPT };
    let answer = corten_web::get(&address, &HeaderMap::new(), limits).await?;
    Ok(answer.good()?.to_vec())
}

/// What is known of the machine by now.
fn variables(state: &State) -> Variables {
    let system = state.get::<SystemInformation>("systeminformation").map(|system| system.spec);
    let known = |text: String| Some(text).filter(|text| !text.is_empty());
    Variables {
        uuid: system.as_ref().and_then(|system| known(system.uuid.clone())),
        serial: system.and_then(|system| known(system.serial_number)),
        mac: state
            .get::<HardwareAddress>(HardwareAddress::FIRST)
            .map(|first| first.spec.hardware_addr.to_string()),
        hostname: state.get::<HostnameStatus>(HostnameStatus::ID).and_then(|name| known(name.spec.hostname)),
        code: state.get::<MetaKey>(CODE_TAG).and_then(|key| known(key.spec.value)),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Answers one connection after the other with these texts; the requests come out.
    async fn serve(listener: TcpListener, answers: Vec<String>) -> Vec<String> {
        let mut requests = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut buffer = vec![0; 4096];
            let length = stream.read(&mut buffer).await.expect("a request");
            requests.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
            // A client that refuses the answer hangs up.
            let _ = stream.write_all(answer.as_bytes()).await;
        }
        requests
    }

    async fn against(answers: Vec<String>, path: &str) -> (anyhow::Result<Vec<u8>>, Vec<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = format!("http://{}{path}", listener.local_addr().expect("an address"));
        let state = corten_resource::testing::state(corten_resources::registry());
        let system = SystemInformation { uuid: "4c4c".to_owned(), ..SystemInformation::default() };
        state.put("test", "systeminformation", system).expect("a resource");
        tokio::join!(attempt(&address, &state), serve(listener, answers))
    }

    fn answer(head: &str, body: &str) -> String {
        format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    }

    #[tokio::test]
    async fn a_configuration_is_fetched_with_variables_and_redirections() {
        let answers =
            vec![answer("302 Found\r\nlocation: /there", ""), answer("200 OK", "version: v1alpha1\n")];
        let (body, requests) = against(answers, "/config?u=${uuid}").await;
        assert_eq!(body.expect("a body"), b"version: v1alpha1\n");
        assert!(requests[0].starts_with("GET /config?u=4c4c HTTP/1.1"), "{}", requests[0]);
        assert!(requests[1].starts_with("GET /there HTTP/1.1"), "{}", requests[1]);
    }

    #[tokio::test]
    async fn what_goes_wrong_is_named() {
        let (refused, _) = against(vec![answer("404 Not Found", "")], "/secret?token=1").await;
        let text = chain(refused.expect_err("refused").as_ref());
        assert!(text.contains("404") && !text.contains("token"), "{text}");
        let large = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\nx", CONFIG_BYTES_MAX + 1);
        assert!(against(vec![large], "/").await.0.is_err(), "too large");
        let (missing, _) = against(Vec::new(), "/${serial}").await;
        assert!(chain(missing.expect_err("no serial").as_ref()).contains("serial"));
    }
}

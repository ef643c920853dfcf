//! The static pods as an HTTP document for the kubelet's `staticPodURL`.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use hyper::{Response, StatusCode};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::files::{StaticPods, StaticPodsStatus, read, write_atomic};
use crate::http::{self, Body};
use crate::net::listen_tcp;

/// Serves until the listener fails.
///
/// # Errors
/// When no port can be bound or the status cannot be written.
pub async fn serve(pods: watch::Receiver<StaticPods>, folder: &Path) -> io::Result<()> {
    let before = read::<StaticPodsStatus>(folder)?.unwrap_or_default();
    let socket = listen_again(&before)?;
    write_atomic(folder, &StaticPodsStatus { url: format!("http://{}/", socket.local_addr()?) })?;
    http::serve(socket, move |_| {
        let response = pod_list(&pods.borrow());
        async move { response }
    })
    .await
}

/// The port of the last run if it is free: the kubelet's configuration names it.
fn listen_again(before: &StaticPodsStatus) -> io::Result<TcpListener> {
    let address = before.url.strip_prefix("http://").and_then(|rest| rest.strip_suffix('/'));
    let known =
        address.and_then(|address| address.parse::<SocketAddr>().ok()).and_then(|at| listen_tcp(at).ok());
    let socket = match known {
        Some(socket) => socket,
        None => listen_tcp((Ipv4Addr::LOCALHOST, 0).into())?,
    };
    TcpListener::from_std(socket)
}

fn pod_list(pods: &StaticPods) -> Response<Body> {
    http::json(StatusCode::OK, &json!({ "apiVersion": "v1", "kind": "PodList", "items": pods.pods }))
}

#[cfg(test)]
mod tests {
    use corten_base::{Task, spawn};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    async fn url(folder: &Path) -> String {
        loop {
            match read::<StaticPodsStatus>(folder).expect("read") {
                Some(status) => return status.url,
                None => tokio::task::yield_now().await,
            }
        }
    }

    fn start(pods: watch::Receiver<StaticPods>, folder: &Path) -> Task<io::Result<()>> {
        let folder = folder.to_owned();
        spawn("static-pods", async move { serve(pods, &folder).await })
    }

    #[tokio::test]
    async fn serves_the_list_and_keeps_its_port_over_a_restart() {
        let folder = tempfile::tempdir().expect("a folder");
        let pods =
            StaticPods { pods: vec![json!({ "kind": "Pod", "metadata": { "name": "kube-apiserver" } })] };
        let (_sender, receiver) = watch::channel(pods);
        let first = start(receiver.clone(), folder.path());
        let known = url(folder.path()).await;
        drop(first);
        let _second = start(receiver, folder.path());
        let address = known.trim_start_matches("http://").trim_end_matches('/');
        let mut client = loop {
            match TcpStream::connect(address).await {
                Ok(client) => break client,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.expect("write");
        let mut text = String::new();
        client.read_to_string(&mut text).await.expect("read");
        assert!(text.starts_with("HTTP/1.1 200"), "{text}");
        assert!(text.contains(r#""kind":"PodList""#) && text.contains("kube-apiserver"), "{text}");
        assert_eq!(url(folder.path()).await, known);
    }
}

//! A registry of one image that asks for a password.

use std::path::{Path, PathBuf};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

pub struct Mirror {
    pub url: String,
    pub host: String,
    _task: corten_base::Task,
}

/// Serves the layout's blobs and, for any tag, its only manifest.
pub async fn serve(layout: PathBuf) -> Mirror {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let task = corten_base::spawn("registry", async move {
        let mut connections = Vec::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            connections.push(corten_base::spawn("connection", connection(stream, layout.clone())));
        }
    });
    Mirror { url: format!("http://{host}"), host, _task: task }
}

async fn connection(mut stream: TcpStream, layout: PathBuf) {
    loop {
        let (reader, mut writer) = stream.split();
        let mut lines = BufReader::new(reader).lines();
        let Ok(Some(request)) = lines.next_line().await else { return };
        let mut authorized = false;
        while let Ok(Some(line)) = lines.next_line().await {
            // "u:p"
            authorized |=
                line.to_ascii_lowercase().starts_with("authorization: basic") && line.ends_with("dTpw");
            if line.is_empty() {
                break;
            }
        }
        let mut words = request.split(' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (head, body) = if authorized { answer(&layout, path) } else { refuse() };
        writer.write_all(head.as_bytes()).await.unwrap();
        if method == "GET" {
            writer.write_all(&body).await.unwrap();
        }
    }
}

fn refuse() -> (String, Vec<u8>) {
    let head =
        "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"test\"\r\nContent-Length: 0\r\n\r\n";
    (head.to_owned(), Vec::new())
}

fn answer(layout: &Path, path: &str) -> (String, Vec<u8>) {
    let last = path.split('?').next().unwrap_or_default().rsplit('/').next().unwrap_or_default().to_owned();
    let index = std::fs::read_to_string(layout.join("index.json")).unwrap();
    let manifest = index.split("sha256:").nth(1).unwrap()[..64].to_owned();
    let digest = last.strip_prefix("sha256:").map_or(manifest, str::to_owned);
    let body = std::fs::read(layout.join("blobs/sha256").join(&digest)).unwrap();
    let kind = if path.contains("/manifests/") {
        "application/vnd.oci.image.manifest.v1+json"
    } else {
        "application/octet-stream"
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nDocker-Content-Digest: sha256:{digest}\r\n\r\n",
        body.len()
    );
    (head, body)
}

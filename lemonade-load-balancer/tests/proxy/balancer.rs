//! A balancer in the test's own process, on free ports.

use lemonade_load_balancer::app::{App, Start};
use lemonade_load_balancer::config::Inputs;
use lemonade_test::{Client, Message, Origin, until};
use std::net::SocketAddr;
use std::path::PathBuf;

pub(crate) struct Balancer {
    pub(crate) app: App,
    pub(crate) file: PathBuf,
    _folder: tempfile::TempDir,
}

/// A complete file: free ports, two shards, no health checks unless `more` says otherwise.
pub(crate) fn file(backends: &[SocketAddr], more: &str) -> String {
    let list: Vec<String> = backends
        .iter()
        .map(|address| format!("\"{address}\""))
        .collect();
    let health = if more.contains("health:") {
        ""
    } else {
        "health: off\n"
    };
    format!(
        "listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\nruntime: {{ shards: 2, drain_timeout: 5s }}\n{health}backends: [{}]\n{more}\n",
        list.join(", ")
    )
}

impl Balancer {
    pub(crate) async fn over(backends: &[&Origin], more: &str) -> Balancer {
        let addresses: Vec<_> = backends.iter().map(|origin| origin.address()).collect();
        Balancer::with(&file(&addresses, more), false).await
    }

    /// `watched`: changes of the file are applied.
    pub(crate) async fn with(text: &str, watched: bool) -> Balancer {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("load-balancer.yaml");
        std::fs::write(&path, text).unwrap();
        let mut inputs = Inputs {
            path: Some(path.clone()),
            ..Inputs::default()
        };
        let loaded = inputs.load().unwrap_or_else(|faults| panic!("{faults}"));
        if !watched {
            inputs.path = None;
        }
        let app = App::start(Start {
            config: loaded.config,
            inputs,
            ..Start::default()
        })
        .unwrap();
        Balancer {
            app,
            file: path,
            _folder: folder,
        }
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.app.listen()).await
    }

    /// One request on a connection of its own.
    pub(crate) async fn ask(&self, request: &str) -> Message {
        self.client().await.ask(request).await
    }

    pub(crate) async fn admin(&self, path: &str) -> Message {
        Client::connect(self.app.admin().unwrap())
            .await
            .get(path)
            .await
    }

    /// Requests in flight on the backend at this place in the file.
    pub(crate) fn in_flight(&self, backend: usize) -> u32 {
        self.app.published().load().members[backend]
            .live
            .load
            .in_flight()
    }

    pub(crate) fn eligible(&self) -> usize {
        self.app.published().load().pool.len()
    }

    pub(crate) async fn until_eligible(&self, count: usize) {
        until(format!("{count} eligible backends"), || {
            self.eligible() == count
        })
        .await;
    }
}

pub(crate) fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")
}

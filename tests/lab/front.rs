//! Programs that users put in front of their server: nginx, and `HAProxy` in TCP mode.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::Mutex;

use tokio::net::TcpStream;

use super::{guard, holds_eventually, part, port, repository};

/// A proxy in front of one server. Its port and configuration survive `kill` and `start`.
pub(crate) struct Front {
    program: Program,
    folder: PathBuf,
    port: u16,
    process: Mutex<Option<Child>>,
}

#[derive(Debug, Clone, Copy)]
enum Program {
    Nginx,
    HaProxy,
}

impl Front {
    /// nginx with this configuration of its server: `storage` is the upstream server, `tars` a cache.
    pub(crate) async fn nginx(endpoint: &str, server: &str) -> Self {
        let front = Self::new(Program::Nginx);
        let (folder, port, address) = (front.folder.display(), front.port, address(endpoint));
        let config = format!(
            "user root;
            pid {folder}/pid;
            events {{}}
            http {{
                access_log {folder}/access;
                client_body_temp_path {folder}/body;
                proxy_temp_path {folder}/proxy;
                proxy_cache_path {folder}/cache keys_zone=tars:1m;
                upstream storage {{ server {address}; }}
                server {{
                    listen 127.0.0.1:{port};
                    {server}
                }}
            }}\n"
        );
        front.started_with(&config).await
    }

    /// `HAProxy`, which passes connections on.
    pub(crate) async fn haproxy(endpoint: &str) -> Self {
        let front = Self::new(Program::HaProxy);
        let (port, address) = (front.port, address(endpoint));
        // The timeouts of Debian's example.
        let config = format!(
            "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 50s\n  timeout server 50s\n\
             listen storage\n  bind 127.0.0.1:{port}\n  server storage {address}\n"
        );
        front.started_with(&config).await
    }

    fn new(program: Program) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("front-")
            .tempdir()
            .unwrap()
            .keep();
        guard::folder(&folder);
        Self {
            program,
            folder,
            port: port::free(),
            process: Mutex::default(),
        }
    }

    async fn started_with(self, config: &str) -> Self {
        fs::write(self.config(), config).unwrap();
        self.start().await;
        self
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Number of lines in nginx's access log that contain `word`.
    pub(crate) fn requests_with(&self, word: &str) -> usize {
        let lines = super::lines_with(&self.folder.join("access"), word);
        lines.lines().count()
    }

    /// Starts it and waits until it accepts connections.
    pub(crate) async fn start(&self) {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.log())
            .unwrap();
        let mut command = Command::new(repository().join("scripts/in-root"));
        command
            .arg(part("proxies"))
            // The first process of a namespace, so that the kernel ends its workers with it.
            .args(["unshare", "--pid", "--fork", "--kill-child"]);
        match self.program {
            Program::Nginx => command
                .args(["nginx", "-g", "daemon off;", "-e", "stderr", "-c"])
                .arg(self.config()),
            Program::HaProxy => command.args(["haproxy", "-db", "-f"]).arg(self.config()),
        };
        *self.process.lock().unwrap() = Some(guard::spawn(&mut command, log));
        let answers = || async { TcpStream::connect(("127.0.0.1", self.port)).await.is_ok() };
        assert!(
            holds_eventually(answers).await,
            "{:?} does not start; it wrote:\n{}",
            self.program,
            super::lines_with(&self.log(), "")
        );
    }

    /// Ends it at once, with all its connections.
    pub(crate) fn kill(&self) {
        if let Some(mut process) = self.process.lock().unwrap().take() {
            process.kill().unwrap();
            process.wait().unwrap();
            guard::ended(process.id());
        }
    }

    fn config(&self) -> PathBuf {
        self.folder.join("config")
    }

    fn log(&self) -> PathBuf {
        self.folder.join("log")
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.kill();
        drop(fs::remove_dir_all(&self.folder));
    }
}

fn address(endpoint: &str) -> &str {
    endpoint.strip_prefix("http://").unwrap()
}

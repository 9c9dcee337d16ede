//! A separate broker for each test, on a free port and in a temporary folder.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running `nats-server`, killed when dropped.
pub(crate) struct Server {
    program: PathBuf,
    folder: tempfile::TempDir,
    port: u16,
    child: Option<Child>,
}

/// The `nats-server` program to test with.
fn program() -> PathBuf {
    let named = std::env::var_os("BLOCKQNN_NATS_SERVER").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    named
        .or_else(|| std::env::split_paths(&path).map(|folder| folder.join("nats-server")).find(|file| file.is_file()))
        .expect("a nats-server on the PATH or in BLOCKQNN_NATS_SERVER")
}

impl Server {
    /// Starts a broker without passwords.
    pub(crate) fn start() -> Self {
        Self::start_with("")
    }

    /// Starts a broker with these lines in its configuration, in which `FOLDER` stands for its folder.
    pub(crate) fn start_with(configuration: &str) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), configuration)
    }

    pub(crate) fn start_in(folder: tempfile::TempDir, configuration: &str) -> Self {
        let program = program();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let text =
            format!("listen: \"127.0.0.1:{port}\"\njetstream {{ store_dir: \"FOLDER/store\" }}\n{configuration}\n");
        let text = text.replace("FOLDER", folder.path().to_str().unwrap());
        fs::write(folder.path().join("nats-server.conf"), text).unwrap();
        let mut server = Self { program, folder, port, child: None };
        server.restart();
        server
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub(crate) fn url_with(&self, scheme: &str, user: &str) -> String {
        format!("{scheme}://{user}127.0.0.1:{}", self.port)
    }

    /// Kills the broker, like a crash.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Deletes everything that it stored; it must not be running.
    pub(crate) fn wipe(&self) {
        assert!(self.child.is_none());
        fs::remove_dir_all(self.folder.path().join("store")).unwrap();
    }

    pub(crate) fn restart(&mut self) {
        self.kill();
        let log = fs::File::options().create(true).append(true).open(self.folder.path().join("log")).unwrap();
        let child = Command::new(&self.program)
            .args(["-c", self.folder.path().join("nats-server.conf").to_str().unwrap()])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
        let end = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            assert!(Instant::now() < end, "nats-server does not start: {log}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

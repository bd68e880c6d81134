//! A real PostgreSQL for one test: its own folder, its own port, gone when it is dropped.
//!
//! PostgreSQL refuses to run as root; then it runs as the account `postgres` or, without one, `nobody`.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails")]

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The superuser's, over TCP; the socket trusts everyone.
pub const PASSWORD: &str = "s3cr3t-word";

/// A running server with an empty database `lemonade`.
pub struct Postgres {
    folder: tempfile::TempDir,
    /// User and group, when we are root.
    account: Option<(u32, u32)>,
    port: u16,
    server: Option<Child>,
}

impl Postgres {
    /// Returns when it answers.
    pub fn start() -> Postgres {
        let folder = tempfile::Builder::new()
            .prefix("pg-")
            .tempdir_in("/tmp")
            .unwrap();
        let account = account();
        if let Some((user, group)) = account {
            chown(folder.path(), Some(user), Some(group)).unwrap();
        }
        let mut postgres = Postgres {
            folder,
            account,
            port: 0,
            server: None,
        };
        postgres.init();
        postgres.restart();
        postgres.sql_in("postgres", "CREATE DATABASE lemonade");
        postgres
    }

    /// The database over TCP, with the password.
    pub fn url(&self) -> String {
        self.url_as(PASSWORD, "lemonade")
    }

    /// The same as another user would write it.
    pub fn url_as(&self, password: &str, database: &str) -> String {
        format!(
            "postgres://lemonade:{password}@127.0.0.1:{}/{database}",
            self.port
        )
    }

    /// Runs statements as an operator would, in psql; gives what it prints.
    pub fn sql(&self, statements: &str) -> String {
        self.sql_in("lemonade", statements)
    }

    /// Kills the server at once, as a crash does.
    pub fn kill(&mut self) {
        let Some(mut server) = self.server.take() else {
            return;
        };
        // Immediate shutdown: the postmaster takes its children along, so that the next one can start.
        signal("QUIT", server.id());
        server.wait().unwrap();
    }

    /// Starts it on the same data, on the same port if that is still free.
    pub fn restart(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !self.launch() {
            assert!(Instant::now() < deadline, "{}", self.log());
            // Somebody was faster to take the port.
            self.port = 0;
        }
    }

    /// Sends a signal to the server process of the watching connection.
    pub fn signal_backend(&self, name: &str) -> u32 {
        let pid = self.sql("SELECT pid FROM pg_stat_activity WHERE application_name = 'lemonade'");
        let pid = pid.trim().parse().unwrap();
        signal(name, pid);
        pid
    }

    fn init(&self) {
        let password = self.folder.path().join("password");
        fs::write(&password, PASSWORD).unwrap();
        fs::set_permissions(&password, fs::Permissions::from_mode(0o644)).unwrap();
        let mut init = self.command("initdb");
        init.args(["-U", "lemonade", "-E", "UTF8", "--no-locale", "--no-sync"]);
        init.args(["--auth-local=trust", "--auth-host=scram-sha-256"]);
        init.arg(format!("--pwfile={}", password.display()));
        init.arg("-D").arg(self.data());
        let done = init.output().unwrap();
        assert!(
            done.status.success(),
            "{}",
            String::from_utf8_lossy(&done.stderr)
        );
    }

    /// False when it ended instead of answering.
    fn launch(&mut self) -> bool {
        if self.port == 0 {
            self.port = TcpListener::bind("127.0.0.1:0")
                .unwrap()
                .local_addr()
                .unwrap()
                .port();
        }
        let log = fs::File::create(self.folder.path().join("log")).unwrap();
        let mut command = self.command("postgres");
        command
            .arg("-D")
            .arg(self.data())
            .arg("-k")
            .arg(self.folder.path());
        command.args(["-p", &self.port.to_string(), "-h", "127.0.0.1", "-F"]);
        command.args(["-c", "shared_buffers=1MB", "-c", "max_connections=20"]);
        command.stdout(Stdio::null()).stderr(log);
        let mut server = command.spawn().unwrap();
        while server.try_wait().unwrap().is_none() {
            if self.psql("postgres", "SELECT 1").is_ok() {
                self.server = Some(server);
                return true;
            }
            sleep(Duration::from_millis(50));
        }
        false
    }

    fn sql_in(&self, database: &str, statements: &str) -> String {
        self.psql(database, statements).unwrap()
    }

    fn psql(&self, database: &str, statements: &str) -> Result<String, String> {
        let mut psql = self.command("psql");
        psql.arg("-h").arg(self.folder.path());
        psql.args([
            "-p",
            &self.port.to_string(),
            "-U",
            "lemonade",
            "-d",
            database,
        ]);
        psql.args([
            "-X",
            "-q",
            "-t",
            "-A",
            "-v",
            "ON_ERROR_STOP=1",
            "-c",
            statements,
        ]);
        let done = psql.output().unwrap();
        match done.status.success() {
            true => Ok(String::from_utf8(done.stdout).unwrap()),
            false => Err(String::from_utf8_lossy(&done.stderr).into_owned()),
        }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(installed(program));
        command.current_dir(self.folder.path());
        if let Some((user, group)) = self.account {
            command.uid(user).gid(group);
        }
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Debian keeps the server's programs out of the path.
fn installed(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path);
    let found = folders
        .map(|folder| folder.join(program))
        .find(|file| file.is_file());
    let debian = || {
        let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
        let files = versions
            .flatten()
            .map(|version| version.path().join("bin").join(program));
        files.filter(|file| file.is_file()).max()
    };
    found
        .or_else(debian)
        .unwrap_or_else(|| Path::new(program).to_owned())
}

fn account() -> Option<(u32, u32)> {
    if id(&["-u"])? != 0 {
        return None;
    }
    let of = |name| Some((id(&["-u", name])?, id(&["-g", name])?));
    of("postgres").or_else(|| of("nobody"))
}

fn id(arguments: &[&str]) -> Option<u32> {
    let done = Command::new("id").args(arguments).output().ok()?;
    String::from_utf8(done.stdout).ok()?.trim().parse().ok()
}

/// Sends a signal, by its name.
pub fn signal(name: &str, pid: u32) {
    let done = Command::new("kill")
        .args(["-s", name, &pid.to_string()])
        .status()
        .unwrap();
    assert!(done.success());
}

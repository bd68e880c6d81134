//! Sockets that are bound before the process begins: from systemd, and from the process before.

use crate::process::{Running, address, get, lemonade};
use command_fds::{CommandFdExt, FdMapping};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::Command;

/// systemd's side of `sd_notify`.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
    _folder: tempfile::TempDir,
}

impl Manager {
    fn listen() -> Manager {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket
            .set_read_timeout(Some(std::time::Duration::from_secs(30)))
            .unwrap();
        Manager {
            socket,
            path,
            _folder: folder,
        }
    }

    /// Waits for a message that holds `part`.
    fn told(&self, part: &str) -> String {
        let mut buffer = [0; 4096];
        loop {
            let length = self.socket.recv(&mut buffer).expect("systemd is told");
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if text.contains(part) {
                return text;
            }
        }
    }
}

fn file(folder: &tempfile::TempDir, text: &str) -> String {
    let path = folder.path().join("lb.yaml");
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn kill(pid: &str, signal: &str) {
    let sent = Command::new("kill").args(["-s", signal, pid]).status();
    assert!(sent.unwrap().success());
}

#[test]
fn sockets_of_systemd_are_used_and_it_is_told() {
    let manager = Manager::listen();
    let folder = tempfile::tempdir().unwrap();
    let [proxy, admin] = ["127.0.0.1:0"; 2].map(|address| TcpListener::bind(address).unwrap());
    let [listen, api]: [SocketAddr; 2] =
        [&proxy, &admin].map(|socket| socket.local_addr().unwrap());
    let config = file(
        &folder,
        &format!("listen: {listen}\nadmin: {api}\nhealth: off\nbackends: [\"127.0.0.1:1\"]\n"),
    );
    // systemd keeps the sockets, for the service's next start.
    let mut balancer = activate(&config, &manager, [&proxy, &admin]);
    assert_eq!(get(api, "/live").0, 200);
    assert_eq!(get(listen, "/").0, 502);
    balancer.signal("HUP");
    assert!(manager.told("RELOADING=1").contains("MONOTONIC_USEC="));
    manager.told("READY=1");
    balancer.signal("TERM");
    manager.told("STOPPING=1");
    assert!(balancer.wait().success());

    // Whoever connects meanwhile is served by the next one.
    let waiting = std::thread::spawn(move || get(listen, "/").0);
    let _balancer = activate(&config, &manager, [&proxy, &admin]);
    assert_eq!(waiting.join().unwrap(), 502);
    assert_eq!(get(api, "/live").0, 200);
}

/// Starts the balancer as systemd does, with these sockets.
fn activate(config: &str, manager: &Manager, sockets: [&TcpListener; 2]) -> Running {
    let mut command = lemonade(&["lb", "-c", config]);
    command
        .env("NOTIFY_SOCKET", &manager.path)
        .env("LISTEN_FDS", "2")
        // As systemd does without `FileDescriptorName=`: the unit's name.
        .env("LISTEN_FDNAMES", "lemonade.socket:lemonade.socket");
    let mappings = sockets.iter().zip(3..).map(|(socket, child_fd)| FdMapping {
        parent_fd: OwnedFd::from(socket.try_clone().unwrap()),
        child_fd,
    });
    command.fd_mappings(mappings.collect()).unwrap();
    let balancer = Running::start(&mut command);
    balancer.line("sockets inherited");
    manager.told("READY=1");
    balancer
}

#[test]
fn new_process_takes_over_and_systemd_follows() {
    let manager = Manager::listen();
    let folder = tempfile::tempdir().unwrap();
    let config = file(
        &folder,
        "listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\nhealth: off\nbackends: [\"127.0.0.1:1\"]\n",
    );
    let mut balancer =
        Running::start(lemonade(&["lb", "-c", &config]).env("NOTIFY_SOCKET", &manager.path));
    let started = balancer.line("load balancer started");
    let (listen, admin) = (address(&started, "listen"), address(&started, "admin"));
    manager.told("READY=1");
    let (code, output, error) = crate::process::run(&["upgrade", "--admin", &admin.to_string()]);
    assert_eq!(code, 0, "{error}");
    let told = manager.told("MAINPID=");
    let pid = told.trim().trim_start_matches("MAINPID=").to_owned();
    assert!(
        output.contains(&format!("process {pid} has taken over")),
        "{output}"
    );
    assert!(balancer.wait().success(), "the old process drains and ends");
    assert_eq!(
        get(listen, "/").0,
        502,
        "the same address, although it was any free one"
    );
    kill(&pid, "TERM");
    manager.told("STOPPING=1");
}

#[test]
fn old_process_goes_on_when_the_new_one_cannot_start() {
    let folder = tempfile::tempdir().unwrap();
    let text =
        "listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\nhealth: off\nbackends: [\"127.0.0.1:1\"]\n";
    let config = file(&folder, text);
    let balancer = Running::start(&mut lemonade(&["lb", "-c", &config]));
    let listen = address(&balancer.line("load balancer started"), "listen");
    std::fs::write(&config, "listen: nonsense\n").unwrap();
    balancer.line("not applied");
    balancer.signal("USR2");
    let said = balancer.line("no new process has taken over");
    assert!(said.contains("exit status: 2"), "{said}");
    assert_eq!(get(listen, "/").0, 502);
}

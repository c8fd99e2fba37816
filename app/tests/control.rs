//! The control server as a process, and the commands that speak with it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_bellwether");

/// A control server, which is killed with its test.
struct Server {
    child: Child,
    started: Value,
}

impl Server {
    fn start(home: &Path) -> Self {
        let mut child = Command::new(BINARY)
            .args([
                "server",
                "--listen",
                "127.0.0.1:0",
                "--output",
                "json",
                "--data",
            ])
            .arg(home.join("server"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        Self {
            child,
            started: serde_json::from_str(&line).expect(&line),
        }
    }

    fn said(&self, field: &str) -> &str {
        self.started[field].as_str().unwrap()
    }

    fn login(&self, home: &Path) -> Output {
        let line = format!(
            "login {} --ca {}",
            self.said("url"),
            self.said("ca_fingerprint")
        );
        run(home, &format!("{line} --token-file server/admin.token"))
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run(home: &Path, line: &str) -> Output {
    Command::new(BINARY)
        .args(line.split_whitespace())
        .current_dir(home)
        .env_clear()
        .env("HOME", home)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[track_caller]
fn done(home: &Path, line: &str) -> Value {
    let output = run(home, &format!("{line} --output json"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{line}: {said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[track_caller]
fn refused(home: &Path, line: &str, code: i32) -> Value {
    let output = run(home, &format!("{line} --output json"));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{line}: {said}");
    serde_json::from_str(&said).unwrap()
}

fn home() -> TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn a_server_is_set_up_by_its_first_start_and_run_by_commands() {
    let home = home();
    let home = home.path();
    let server = Server::start(home);
    refused(home, "site list", 4);
    assert_eq!(server.login(home).status.code(), Some(0));
    let context = home.join(".config/bellwether/context.toml");
    assert_eq!(
        fs::metadata(context).unwrap().permissions().mode() & 0o777,
        0o600
    );

    done(
        home,
        "site create shop --source /srv/shop --part media=*.mp4,films --quorum-after 80%",
    );
    done(
        home,
        "group create shops --site shop --part media --label tier=gold",
    );
    let sites = done(home, "site list");
    assert_eq!(sites["kind"], "site.list");
    assert_eq!(sites["items"][0]["policy"]["quorum_after"], "80%");
    refused(home, "site create shop", 5);
    refused(home, "site remove shop", 5);
    refused(home, "group show nobody", 3);
    refused(home, "site create ../shop", 2);
    let text = run(home, "group list");
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(
        text.starts_with("GROUP") && text.contains("tier=gold"),
        "{text}"
    );
    assert_eq!(done(home, "node list")["items"], Value::Array(Vec::new()));
    let audit = done(home, "audit --limit 2");
    assert_eq!(audit["items"][0]["action"], "site.remove");

    let given = done(home, "token create ann --role viewer --lasts 1h");
    fs::write(home.join("ann"), given["token"].as_str().unwrap()).unwrap();
    let url = format!(
        "{} --ca {}",
        server.said("url"),
        server.said("ca_fingerprint")
    );
    done(
        home,
        &format!("login {url} --token-file ann --context ann.toml"),
    );
    done(home, "site show shop --context ann.toml");
    refused(home, "site remove shop --context ann.toml", 4);
    let events = run(home, "events");
    assert!(String::from_utf8_lossy(&events.stdout).contains("token.created"));
}

#[test]
fn a_server_that_was_killed_goes_on_where_it_was() {
    let home = home();
    let home = home.path();
    let server = Server::start(home);
    assert_eq!(server.login(home).status.code(), Some(0));
    done(home, "site create shop");
    let fingerprint = server.said("ca_fingerprint").to_owned();
    server.kill();
    let again = Server::start(home);
    assert_eq!(again.said("ca_fingerprint"), fingerprint);
    assert_eq!(
        again.started["join_token"],
        Value::Null,
        "that is told once"
    );
    assert_eq!(
        again.login(home).status.code(),
        Some(0),
        "it has another port now"
    );
    assert_eq!(done(home, "site list")["items"][0]["name"], "shop");
}

#[test]
fn another_servers_fingerprint_and_a_second_server_on_a_directory_are_refused() {
    let home = home();
    let home = home.path();
    let server = Server::start(home);
    let wrong = "0".repeat(64);
    let line = format!(
        "login {} --ca {wrong} --token-file server/admin.token",
        server.said("url")
    );
    refused(home, &line, 4);
    assert!(
        !home.join(".config").exists(),
        "nothing is kept of a login that failed"
    );
    refused(home, "server --listen 127.0.0.1:0 --data server", 5);
}

/// A node's agent, which is killed with its test.
struct Agent(Child);

impl Agent {
    fn start(home: &Path, server: &Server, token: Option<&str>) -> Self {
        // Others of this machine may have the port that it would take.
        let config = home.join("agent.toml");
        fs::write(&config, "[channel]\nserve_port = 0\n").unwrap();
        let mut command = Command::new(BINARY);
        command
            .env("BELLWETHER_CONFIG", config)
            .args([
                "agent",
                "run",
                "--interface",
                "127.0.0.1",
                "--name",
                "web-1",
            ])
            .args([
                "--server",
                server.said("url"),
                "--ca",
                server.said("ca_fingerprint"),
                "--data",
            ])
            .arg(home.join("node"))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if let Some(token) = token {
            command.args(["--token", token]);
        }
        Self(command.spawn().unwrap())
    }

    /// Waits until something holds, which it does before long unless the agent has ended.
    fn until(&mut self, holds: impl Fn() -> bool) {
        let began = Instant::now();
        while !holds() {
            let ended = self.0.try_wait().unwrap();
            assert!(ended.is_none(), "the agent ended: {ended:?}");
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "the agent does not get there"
            );
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Killed as soon as each of its files is there: the next start goes on, and there is one node in the end.
#[test]
fn a_node_comes_by_the_line_that_the_server_printed_whenever_it_is_killed_meanwhile() {
    let home = home();
    let home = home.path();
    let server = Server::start(home);
    assert_eq!(server.login(home).status.code(), Some(0));
    let token = server.said("join_token");
    for file in ["lock", "key", "node", "enrolment"] {
        let path = home.join("node").join(file);
        Agent::start(home, &server, Some(token)).until(|| path.exists());
    }
    let status = || run(home, "agent status --data node --output json");
    let mut agent = Agent::start(home, &server, Some(token));
    agent.until(|| status().status.code() == Some(0));
    let shown: Value = serde_json::from_slice(&status().stdout).unwrap();
    assert_eq!(shown["segment"], "net-127.0.0.0-8");
    let nodes = done(home, "node list");
    assert_eq!(nodes["items"].as_array().unwrap().len(), 1);
    assert_eq!(nodes["items"][0]["id"], shown["node"]["id"]);
    drop(agent);

    // From now on its certificate speaks for it, until it is put out.
    let mut agent = Agent::start(home, &server, None);
    agent.until(|| status().status.code() == Some(0));
    drop(agent);
    done(home, "node remove web-1");
    let mut agent = Agent::start(home, &server, None);
    assert_eq!(agent.0.wait().unwrap().code(), Some(4), "forbidden");
}

/// ARCH-03, STAGE-01: content is put there by hand, or sent from afar; both are published.
#[test]
fn a_tree_is_planned_and_published_from_a_directory_and_from_the_server() {
    let home = home();
    let home = home.path();
    let server = Server::start(home);
    server.login(home);
    fs::create_dir_all(home.join("tree/docs")).unwrap();
    let large: Vec<u8> = (0..9 << 20).map(|n| (n % 251 * (n >> 16)) as u8).collect();
    fs::write(home.join("tree/large"), &large).unwrap();
    fs::write(home.join("tree/docs/page"), "one").unwrap();
    fs::write(home.join("tree/docs/twin"), "one").unwrap();
    fs::write(home.join("tree/empty"), "").unwrap();
    let source = home.join("tree").display().to_string();
    done(home, &format!("site create shop --source {source}"));
    let nobody = refused(home, "publish shop tree", 5);
    assert!(nobody["hint"].as_str().unwrap().contains("group create"));
    done(home, "group create shops --site shop");
    refused(home, "publish nowhere tree", 3);
    refused(home, "publish shop no-such-tree", 3);

    let line = "plan shop tree --detailed-exitcode --output json";
    let planned = run(home, line);
    assert_eq!(planned.status.code(), Some(9));
    let planned: Value = serde_json::from_slice(&planned.stdout).unwrap();
    let published = done(home, "publish shop tree --detach");
    let part = &published["parts"][0];
    assert_eq!(part["version"], planned["parts"][0]["target"]);
    assert_eq!(published["sent_contents"], 3);
    assert_eq!(published["sent_bytes"], large.len() + 3);
    assert_eq!(run(home, line).status.code(), Some(0));

    // The server reads the same tree, and finds it the same.
    let again = done(home, "publish shop --detach");
    assert_eq!(again["parts"][0]["changed"], false);
    assert_eq!(again["parts"][0]["version"], part["version"]);
    fs::write(home.join("tree/docs/page"), "two").unwrap();
    let again = done(home, "publish shop --detach");
    assert_eq!(again["parts"][0]["changed"], true);
    let sent = done(home, "publish shop tree --detach");
    assert_eq!(sent["sent_contents"], 0);

    fs::remove_dir_all(home.join("tree")).unwrap();
    refused(home, "publish shop", 5);
    fs::create_dir(home.join("tree")).unwrap();
    for line in ["publish shop", "publish shop tree"] {
        let empty = refused(home, line, 2);
        assert!(empty["hint"].as_str().unwrap().contains("--allow-empty"));
    }
    let empty = done(home, "publish shop tree --allow-empty --detach");
    assert_eq!(empty["parts"][0]["files"], 0);
    let versions = done(home, "site versions shop");
    let kept = versions["items"].as_array().unwrap();
    assert_eq!(kept.len(), 3);
    assert_eq!(kept[0]["version"], empty["parts"][0]["version"]);
    assert_eq!(kept[2]["version"], part["version"]);
}

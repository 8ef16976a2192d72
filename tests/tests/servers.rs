//! Real servers as children: found, started, killed, restarted, and never left behind.

#![allow(clippy::unwrap_used, reason = "all of it is tests, helpers included")]

use std::process::{Command, Stdio};

use stepstream_tests::poll::until;
use stepstream_tests::servers;

fn alive(pid: u32) -> bool {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.try_into().unwrap()), None).is_ok()
}

#[tokio::test]
async fn a_nats_server_keeps_its_ports_over_a_kill_and_a_restart() {
    let mut server = servers::nats().await.unwrap();
    let (url, pid) = (server.url(), server.pid());
    assert!(server.version().starts_with("2."), "{}", server.version());
    let client = async_nats::connect(&url).await.unwrap();
    let jetstream = async_nats::jetstream::new(client);
    let config = async_nats::jetstream::stream::Config { name: "KEPT".to_owned(), ..Default::default() };
    jetstream.create_stream(config).await.unwrap();

    server.kill().await;
    assert!(!alive(pid));
    server.restart().await.unwrap();
    assert_eq!(server.url(), url);
    assert_ne!(server.pid(), pid);
    let client = async_nats::connect(&url).await.unwrap();
    assert_eq!(client.server_info().max_payload, 8 << 20);
    async_nats::jetstream::new(client).get_stream("KEPT").await.unwrap();

    let (pid, directory) = (server.pid(), server.store_directory());
    assert!(directory.exists());
    drop(server);
    assert!(!alive(pid) && !directory.exists());
}

#[tokio::test]
async fn a_postgres_server_keeps_its_data_over_a_kill_and_a_restart() {
    use sqlx::{Connection, PgConnection};
    let mut server = servers::postgres().await.unwrap();
    server.create_database("kept").await.unwrap();
    assert!(server.create_database("kept").await.unwrap_err().to_string().contains("already exists"));
    assert!(server.create_database("drop me; --").await.is_err());
    let mut connection = PgConnection::connect(&server.url("kept")).await.unwrap();
    sqlx::raw_sql("create table t (n int); insert into t values (7)").execute(&mut connection).await.unwrap();
    let fsync: String = sqlx::query_scalar("show fsync").fetch_one(&mut connection).await.unwrap();
    assert_eq!(fsync, "on");

    let pid = server.pid();
    server.kill().await;
    assert!(!alive(pid));
    server.restart().await.unwrap();
    let mut connection = PgConnection::connect(&server.url("kept")).await.unwrap();
    let n: i32 = sqlx::query_scalar("select n from t").fetch_one(&mut connection).await.unwrap();
    assert_eq!(n, 7);
    server.stop().await;
    server.restart().await.unwrap();

    let (pid, directory) = (server.pid(), server.data_directory());
    drop(server);
    assert!(!alive(pid) && !directory.exists());
}

/// Set for the process that this test starts and kills.
const VICTIM: &str = "STEPSTREAM_TEST_STARTS_SERVERS_AND_WAITS";

#[tokio::test]
async fn servers_and_their_directories_go_with_a_process_that_is_killed() {
    if std::env::var_os(VICTIM).is_some() {
        let (nats, postgres) = tokio::join!(servers::nats(), servers::postgres());
        let (nats, postgres) = (nats.unwrap(), postgres.unwrap());
        let told = format!(
            "{} {} {} {}",
            nats.pid(),
            nats.store_directory().display(),
            postgres.pid(),
            postgres.data_directory().display()
        );
        std::fs::write(std::env::var_os(VICTIM).unwrap(), told).unwrap();
        std::future::pending::<()>().await;
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("told");
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "servers_and_their_directories_go_with_a_process_that_is_killed"])
        .env(VICTIM, &file)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let told = until("the victim has its servers", async || {
        std::fs::read_to_string(&file).ok().filter(|told| !told.is_empty())
    })
    .await;
    let words: Vec<&str> = told.split(' ').collect();
    let pids: [u32; 2] = [words[0].parse().unwrap(), words[2].parse().unwrap()];
    assert!(pids.iter().all(|pid| alive(*pid)));
    victim.kill().unwrap();
    victim.wait().unwrap();
    until("the servers are gone", async || pids.iter().all(|pid| !alive(*pid)).then_some(())).await;
    let left = [words[1], words[3]].map(std::path::PathBuf::from);
    until("their directories are gone", async || left.iter().all(|path| !path.exists()).then_some(())).await;
}

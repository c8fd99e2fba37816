//! Gives a control server's database a long history, to see what lists of it cost: `history FILE JOBS`.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;

use bellwether_scheduling::{Kind, Status, Step};
use bellwether_store::{Actor, Command, Entry, NewJob, Store};
use bellwether_types::{Hash, Name, VersionId};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let file = PathBuf::from(words.next().ok_or("FILE")?);
    let jobs: u64 = words.next().ok_or("JOBS")?.parse()?;
    let store = Store::open(&file).await?;
    let version = VersionId(Hash([7; 32]));
    for _ in 0..jobs {
        // Of a site and a group that are there.
        let job = NewJob::new(
            Kind::Publish,
            "shop".parse()?,
            "all-of-them".parse()?,
            Some(version),
        );
        let number = propose(&store, Command::CreateJob(job)).await?;
        let name: Name = format!("j-{number}").parse()?;
        let step = Step::Finished(Status::Cancelled, BTreeMap::new());
        propose(&store, Command::keep_step(name, &step)).await?;
    }
    store.close().await;
    Ok(())
}

async fn propose(store: &Store, command: Command) -> Result<u64, Box<dyn Error>> {
    Ok(store
        .propose(Entry::new(1_000, Actor::Server, command))
        .await??)
}

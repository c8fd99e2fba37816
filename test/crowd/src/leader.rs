use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use bellwether_api::routes::Enrol;
use bellwether_api::{EnrolRequest, NoQuery};
use bellwether_client::{Client, Credential, Identity, ServerUrl};
use bellwether_types::{Epoch, Hash, Incarnation, Name, NodeId};
use bellwether_wire::SigningKey;
use bellwether_wire::control::{Formats, Record, Resources};
use bellwether_wire::uplink::{
    ClusterReport, Downward, Hello, Pong, Progress, Report, ReportNumber, Upward,
};
use rcgen::{CertificateParams, KeyPair};
use tokio::sync::Barrier;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

/// Where the control server is.
pub(crate) struct Place {
    pub(crate) url: ServerUrl,
    pub(crate) ca: Hash,
}

/// One that leads a segment.
pub(crate) struct Leader {
    client: Client,
    segment: Name,
    number: u32,
    members: Vec<NodeId>,
}

const REPORTS_EVERY: Duration = Duration::from_secs(5);
const PROGRESS_EVERY: Duration = Duration::from_millis(250);
const SILENCE: Duration = Duration::from_secs(60);

impl Place {
    pub(crate) fn client(&self, credential: Credential) -> Result<Client> {
        Ok(Client::new(self.url.clone(), self.ca, credential)?)
    }
}

impl Leader {
    /// Enrols it and its members, each with a key of its own, in a network of their own.
    pub(crate) async fn enrol(
        place: &Place,
        newcomer: &Client,
        number: u32,
        members: u32,
    ) -> Result<Self> {
        let mut nodes = Vec::new();
        let mut first = None;
        for member in 0..members {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&(number + 1).to_be_bytes());
            bytes[4..8].copy_from_slice(&member.to_be_bytes());
            let node = NodeId::from_bytes(bytes);
            let mut seed = [7; 32];
            seed[..16].copy_from_slice(&bytes);
            let key = KeyPair::try_from(SigningKey::from_seed(seed).to_pkcs8())?;
            let request = CertificateParams::default()
                .serialize_request(&key)?
                .pem()?;
            let request = EnrolRequest {
                node,
                name: format!("n-{number}-{member}").parse()?,
                addresses: vec![format!(
                    "10.{}.{}.{}/24",
                    number / 250,
                    number % 250,
                    member + 1
                )],
                request,
            };
            let certified = newcomer.call::<Enrol>(&(), &NoQuery {}, &request).await?;
            first.get_or_insert((certified, key));
            nodes.push(node);
        }
        let (certified, key) = first.context("it has no members")?;
        let identity = Identity {
            certificate: certified.certificate,
            key: key.serialize_pem(),
        };
        Ok(Self {
            client: place.client(Credential::Node(identity))?,
            segment: certified.settings.segment,
            number,
            members: nodes,
        })
    }

    /// Leads until the connection ends.
    pub(crate) async fn speak(self, heard: Arc<Barrier>) -> Result<()> {
        let epoch = Epoch {
            counter: 1,
            leader: self.members[0],
        };
        let hello = Hello {
            segment: self.segment.clone(),
            epoch,
            incarnation: Incarnation(1),
            formats: Formats::default(),
            settings: 0,
            jobs: Vec::new(),
        };
        let mut link = self.client.uplink(hello).await?;
        // Not all at the same moment.
        let begin = Instant::now() + PROGRESS_EVERY / 250 * (self.number % 250);
        let mut progress = interval_at(begin, PROGRESS_EVERY);
        let mut reports = interval_at(begin, REPORTS_EVERY);
        progress.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut sequence, mut job, mut fetched) = (0, None, 0);
        let mut heard = Some(heard);
        loop {
            let message = tokio::select! {
                message = link.stream.next(SILENCE) => message?,
                _ = progress.tick() => {
                    if let Some(job) = &job {
                        fetched += 1;
                        link.sender.send(&Upward::Progress(self.progress(job, fetched))).await?;
                    }
                    continue;
                }
                _ = reports.tick() => {
                    sequence += 1;
                    link.sender.send(&Upward::Segment(self.report(epoch, sequence)?)).await?;
                    continue;
                }
            };
            match message {
                Downward::Welcome(_) => {
                    if let Some(heard) = heard.take() {
                        tokio::spawn(async move { heard.wait().await });
                    }
                }
                Downward::Ping(ping) => {
                    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
                    let us =
                        now.tv_sec.unsigned_abs() * 1_000_000 + now.tv_nsec.unsigned_abs() / 1_000;
                    let pong = Pong {
                        number: ping.number,
                        received_us: us,
                        sent_us: us,
                    };
                    link.sender.send(&Upward::Pong(pong)).await?;
                }
                Downward::Notify(notify) => job = Some(notify.job),
                Downward::Dismiss(dismiss) => anyhow::bail!("dismissed: {}", dismiss.text),
                _ => {}
            }
        }
    }

    fn progress(&self, job: &Name, fetched: u64) -> Progress {
        Progress {
            job: job.clone(),
            bytes: 1 << 30,
            fetched: fetched << 20,
            received: fetched << 20,
            rate: 1_000_000_000,
            nodes: self.members.len() as u32,
            complete: 0,
            staged: 0,
            failed: 0,
            slowest: Vec::new(),
            needed: (self.members.len() as u64) << 30,
        }
    }

    fn report(&self, epoch: Epoch, sequence: u64) -> Result<Report> {
        let members = self.members.iter().enumerate();
        let members = members
            .map(|(member, node)| Ok((*node, self.record(member)?)))
            .collect::<Result<BTreeMap<NodeId, Record>>>()?;
        Ok(Report::Cluster(ClusterReport {
            number: ReportNumber {
                segment: self.segment.clone(),
                epoch,
                sequence,
            },
            title: None,
            leader: members[&epoch.leader].name.clone(),
            address: members[&epoch.leader].address,
            location: String::new(),
            members: members.into_iter().collect(),
        }))
    }

    fn record(&self, member: usize) -> Result<Record> {
        let (high, low) = (self.number / 250, self.number % 250);
        Ok(Record {
            incarnation: Incarnation(1),
            name: format!("n-{}-{member}", self.number).parse()?,
            address: format!("10.{high}.{low}.{}:7400", member + 1).parse()?,
            location: String::new(),
            candidate: true,
            priority: 1,
            busy: false,
            formats: Formats::default(),
            resources: Resources {
                disk_free_bytes: 1 << 40,
                ..Resources::default()
            },
            holdings: Vec::new(),
            nonce: 1,
            joined: 1,
            data_port: None,
            serve_port: None,
        })
    }
}

//! The arrows between crates: they point down the floors app, service, io, core, and within core down its rooms.
//!
//! Folders are the truth: a crate's floor is where it lies, so a new crate is checked from its first day without being
//! entered anywhere. Test crates stand beside the house: any crate may use them for its own tests. Chores (xtask,
//! benchmarks) stand apart: nobody uses them, and of ours they use test crates alone. Nobody uses what fuzzes either, but
//! it calls the product directly.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, anyhow};
use serde_json::Value;

use super::{metadata, no_faults};

/// Rooms of core from the bottom; all other rooms lie above these and do not know each other.
const ROOMS_OF_CORE: &[&str] = &["types", "wire", "machine", "delta"];

/// Rooms of core that join protocols to what a node is: they lie above all others.
const JOINING_ROOMS_OF_CORE: &[&str] = &["segment", "leading"];

const FLOORS: &[&str] = &["core", "io", "service", "app"];

const APART: &[&str] = &["xtask", "bench"];

/// Crates that bring waiting, sockets, threads or the operating system: none of them below core, at any depth.
const NEVER_UNDER_CORE: &[&str] = &[
    "async-std",
    "crossbeam-channel",
    "futures",
    "hyper",
    "mio",
    "polling",
    "quinn",
    "quinn-udp",
    "rayon",
    "reqwest",
    "smol",
    "socket2",
    "tokio",
    "walkdir",
];

/// Crates that others may use for good reasons of their own, but that core may not name.
const NEVER_IN_CORE: &[&str] = &[
    "fs-err",
    "getrandom",
    "libc",
    "memmap2",
    "nix",
    "rand",
    "rustix",
    "tempfile",
];

pub(super) fn check() -> Result<()> {
    let crates = crates(&metadata()?)?;
    no_faults(&faults(&crates))
}

/// A crate of the workspace, as far as arrows are concerned.
#[derive(Debug)]
struct Crate {
    name: String,
    place: Place,
    /// (name, whether only for tests)
    direct: Vec<(String, bool)>,
    /// Everything that is linked with it, at any depth.
    linked: BTreeSet<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Floor { floor: usize, room: usize },
    Beside,
    Apart,
    Probe,
    Nowhere,
}

impl Place {
    fn of(folder: &str) -> Self {
        let (top, room) = folder.split_once('/').unwrap_or((folder, ""));
        if let Some(floor) = FLOORS.iter().position(|name| *name == top) {
            let rank = ROOMS_OF_CORE
                .iter()
                .position(|name| *name == room)
                .unwrap_or(ROOMS_OF_CORE.len());
            let rank = rank + usize::from(JOINING_ROOMS_OF_CORE.contains(&room));
            return Self::Floor {
                floor,
                room: if floor == 0 { rank } else { 0 },
            };
        }
        match top {
            "test" => Self::Beside,
            "fuzz" => Self::Probe,
            top if APART.contains(&top) => Self::Apart,
            _ => Self::Nowhere,
        }
    }

    fn is_core(self) -> bool {
        matches!(self, Self::Floor { floor: 0, .. })
    }

    /// May a crate here use one over there? On a floor above core neighbours may help each other: cargo itself
    /// refuses a circle.
    fn may_use(self, target: Self, only_for_tests: bool) -> bool {
        match (self, target) {
            (_, Self::Apart | Self::Probe | Self::Nowhere) | (Self::Nowhere, _) => false,
            (Self::Apart, target) => target == Self::Beside,
            (Self::Beside | Self::Probe, _) => true,
            (Self::Floor { .. }, Self::Beside) => only_for_tests,
            (
                Self::Floor { floor: from, room },
                Self::Floor {
                    floor: to,
                    room: target,
                },
            ) => to < from || (to == from && (from > 0 || target < room)),
        }
    }
}

fn faults(crates: &[Crate]) -> Vec<String> {
    let places: BTreeMap<&str, Place> = crates
        .iter()
        .map(|one| (one.name.as_str(), one.place))
        .collect();
    let mut faults = Vec::new();
    for one in crates {
        let name = &one.name;
        if one.place == Place::Nowhere {
            faults.push(format!(
                "{name} lies on no floor: core, io, service, app, test, xtask, fuzz or bench"
            ));
        }
        for (used, only_for_tests) in &one.direct {
            match places.get(used.as_str()) {
                Some(place) if !one.place.may_use(*place, *only_for_tests) => {
                    faults.push(format!("{name} uses {used}: the arrow does not point down"));
                }
                None if one.place.is_core()
                    && !only_for_tests
                    && NEVER_IN_CORE.contains(&used.as_str()) =>
                {
                    faults.push(format!(
                        "{name} names {used}: core asks nothing of the operating system"
                    ));
                }
                _ => {}
            }
        }
        if one.place.is_core() {
            let banned = NEVER_UNDER_CORE
                .iter()
                .filter(|banned| one.linked.contains(**banned));
            faults.extend(
                banned.map(|banned| format!("{name} is linked with {banned}: core has no runtime")),
            );
        }
    }
    faults
}

fn crates(metadata: &Value) -> Result<Vec<Crate>> {
    let root = text(&metadata["workspace_root"])?;
    let packages: BTreeMap<&str, &Value> = array(&metadata["packages"])?
        .iter()
        .map(|package| Ok((text(&package["id"])?, package)))
        .collect::<Result<_>>()?;
    let links = links(metadata)?;
    let mut crates = Vec::new();
    for id in array(&metadata["workspace_members"])? {
        let id = text(id)?;
        let package = packages
            .get(id)
            .ok_or_else(|| anyhow!("cargo metadata does not describe {id}"))?;
        let folder = text(&package["manifest_path"])?
            .strip_prefix(root)
            .and_then(|path| path.trim_start_matches('/').strip_suffix("/Cargo.toml"))
            .ok_or_else(|| anyhow!("{id} lies outside the workspace"))?;
        let direct = array(&package["dependencies"])?
            .iter()
            .map(|used| Ok((text(&used["name"])?.to_owned(), used["kind"] == "dev")))
            .collect::<Result<_>>()?;
        let linked = reach(id, &links)
            .into_iter()
            .filter_map(|id| packages.get(id)?["name"].as_str())
            .map(str::to_owned)
            .collect();
        crates.push(Crate {
            name: text(&package["name"])?.to_owned(),
            place: Place::of(folder),
            direct,
            linked,
        });
    }
    Ok(crates)
}

/// For every package the packages it is linked with: not those of its tests and of its build script.
fn links(metadata: &Value) -> Result<BTreeMap<&str, Vec<&str>>> {
    let mut links = BTreeMap::new();
    for node in array(&metadata["resolve"]["nodes"])? {
        let mut used = Vec::new();
        for dependency in array(&node["deps"])? {
            if array(&dependency["dep_kinds"])?
                .iter()
                .any(|kind| kind["kind"].is_null())
            {
                used.push(text(&dependency["pkg"])?);
            }
        }
        links.insert(text(&node["id"])?, used);
    }
    Ok(links)
}

fn reach<'a>(start: &'a str, links: &BTreeMap<&'a str, Vec<&'a str>>) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    let mut open = vec![start];
    while let Some(id) = open.pop() {
        for used in links.get(id).into_iter().flatten() {
            if seen.insert(*used) {
                open.push(used);
            }
        }
    }
    seen
}

fn text(value: &Value) -> Result<&str> {
    value
        .as_str()
        .ok_or_else(|| anyhow!("cargo metadata: expected a text, found {value}"))
}

fn array(value: &Value) -> Result<&Vec<Value>> {
    value
        .as_array()
        .ok_or_else(|| anyhow!("cargo metadata: expected a list, found {value}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A workspace of crates (folder, what it uses, what its tests use), named like their folders.
    fn faults_of(crates: &[(&str, &[&str], &[&str])]) -> Vec<String> {
        let package = |folder: &str, used: &[&str], for_tests: &[&str]| {
            let used = used.iter().map(|name| json!({"name": name, "kind": null}));
            let for_tests = for_tests
                .iter()
                .map(|name| json!({"name": name, "kind": "dev"}));
            json!({"id": folder, "name": folder, "manifest_path": format!("/w/{folder}/Cargo.toml"),
                   "dependencies": used.chain(for_tests).collect::<Vec<_>>()})
        };
        let node = |folder: &str, used: &[&str]| {
            let deps = used
                .iter()
                .map(|name| json!({"pkg": name, "dep_kinds": [{"kind": null}]}))
                .collect::<Vec<_>>();
            json!({"id": folder, "deps": deps})
        };
        // Two strangers: one that waits, and one that only uses the first.
        let mut packages = vec![
            package("tokio", &[], &[]),
            package("polite", &["tokio"], &[]),
            package("libc", &[], &[]),
        ];
        packages.extend(
            crates
                .iter()
                .map(|(folder, used, for_tests)| package(folder, used, for_tests)),
        );
        let mut nodes = vec![node("polite", &["tokio"])];
        nodes.extend(crates.iter().map(|(folder, used, _)| node(folder, used)));
        let members: Vec<_> = crates.iter().map(|(folder, ..)| folder).collect();
        let metadata = json!({"workspace_root": "/w", "packages": packages, "workspace_members": members,
                              "resolve": {"nodes": nodes}});
        faults(&super::crates(&metadata).expect("the fixture is well formed"))
    }

    #[test]
    fn arrows_down_are_fine() {
        let house: &[(&str, &[&str], &[&str])] = &[
            ("core/types", &[], &[]),
            ("core/wire", &["core/types"], &["test/kit"]),
            ("core/delta", &["core/types"], &[]),
            ("core/content", &["core/delta", "core/wire"], &["libc"]),
            ("io/disk", &["core/content", "libc", "tokio"], &[]),
            ("service/client", &[], &[]),
            ("service/cli", &["io/disk", "service/client"], &[]),
            ("app", &["service/cli"], &[]),
            ("test/kit", &["io/disk"], &[]),
            ("fuzz", &["io/disk", "test/kit"], &[]),
            ("xtask", &["libc", "test/kit"], &[]),
        ];
        assert_eq!(faults_of(house), Vec::<String>::new());
    }

    #[test]
    fn an_arrow_up_a_floor_is_a_fault_even_in_tests() {
        assert_eq!(
            faults_of(&[("io/disk", &[], &[]), ("core/content", &["io/disk"], &[])]).len(),
            1
        );
        assert_eq!(
            faults_of(&[("io/disk", &[], &[]), ("core/content", &[], &["io/disk"])]).len(),
            1
        );
    }

    #[test]
    fn an_arrow_up_a_room_of_core_is_a_fault() {
        assert_eq!(
            faults_of(&[("core/types", &["core/wire"], &[]), ("core/wire", &[], &[])]).len(),
            1
        );
    }

    #[test]
    fn protocols_do_not_know_each_other() {
        assert_eq!(
            faults_of(&[
                ("core/election", &["core/tree"], &[]),
                ("core/tree", &[], &[])
            ])
            .len(),
            1
        );
    }

    #[test]
    fn nobody_uses_a_chore_nor_it_the_product_which_uses_test_crates_only_for_tests() {
        assert_eq!(
            faults_of(&[("xtask", &[], &[]), ("app", &["xtask"], &[])]).len(),
            1
        );
        assert_eq!(
            faults_of(&[("test/kit", &[], &[]), ("app", &["test/kit"], &[])]).len(),
            1
        );
        assert_eq!(
            faults_of(&[("io/disk", &[], &[]), ("xtask", &["io/disk"], &[])]).len(),
            1
        );
    }

    #[test]
    fn a_runtime_below_core_is_a_fault_at_any_depth() {
        assert_eq!(faults_of(&[("core/types", &["tokio"], &[])]).len(), 1);
        assert_eq!(faults_of(&[("core/types", &["polite"], &[])]).len(), 1);
        assert_eq!(faults_of(&[("core/types", &["libc"], &[])]).len(), 1);
    }

    #[test]
    fn a_crate_in_no_known_folder_is_a_fault() {
        assert_eq!(faults_of(&[("common", &[], &[])]).len(), 1);
    }
}

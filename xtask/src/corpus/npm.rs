//! A pair from npm: a framework with its dependencies, as a site ships them.

use anyhow::Result;

use super::{Pair, scratch};
use crate::shell;

/// The framework's version on each side; everything below it is the same on both.
const VERSIONS: [&str; 2] = ["14.2.13", "14.2.14"];

/// Dependencies of dependencies are ranges, so each is pinned here: later versions must not change the pair.
const PINNED: &str = r#""caniuse-lite": "1.0.30001660", "graceful-fs": "4.2.11", "@swc/helpers": "0.5.5", "tslib": "2.7.0",
    "nanoid": "3.3.7", "picocolors": "1.1.0", "source-map-js": "1.2.1", "postcss": "8.4.31", "styled-jsx": "5.1.1",
    "busboy": "1.6.0", "streamsearch": "1.1.0", "client-only": "0.0.1", "loose-envify": "1.4.0", "js-tokens": "4.0.0",
    "scheduler": "0.23.2", "@swc/counter": "0.1.3""#;

pub(super) const DIGESTS: [&str; 2] = [
    "0ceba98c8cf8e2480d3418662109a389368d8dc974fd3d07abdbdc65e7e46ecb",
    "b890d4d0267812db902aafee76ac63e3f6b2ecf6488c3a40261825edb1d47268",
];

pub(super) fn bundle(pair: &Pair) -> Result<()> {
    for (tree, version) in [&pair.old, &pair.new].into_iter().zip(VERSIONS) {
        let project = scratch("bundle")?;
        let manifest = format!(
            r#"{{"name": "app", "version": "1.0.0", "private": true,
                "dependencies": {{"next": "{version}", "react": "18.3.1", "react-dom": "18.3.1"}},
                "overrides": {{{PINNED}}}}}"#
        );
        std::fs::write(project.join("package.json"), manifest)?;
        // Optional dependencies are binaries for one platform each; scripts of packages have no business here.
        let words = [
            "npm",
            "install",
            "--silent",
            "--omit=optional",
            "--no-audit",
            "--no-fund",
            "--ignore-scripts",
        ];
        shell::run(
            shell::command(words)
                .current_dir(&project)
                .stdout(std::io::stderr()),
        )?;
        std::fs::remove_dir(tree)?;
        std::fs::rename(project.join("node_modules"), tree)?;
        // Written by this installation, not by the packages.
        let _ = std::fs::remove_file(tree.join(".package-lock.json"));
        let _ = std::fs::remove_dir_all(tree.join(".bin"));
    }
    Ok(())
}

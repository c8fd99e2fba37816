//! The settings of an agent.

use bellwether_agent::Settings;

/// Whatever stands in a file is taken or refused with a reason; what a file may say, the command line may.
pub(crate) fn run(input: &[u8]) {
    let Some(table) = std::str::from_utf8(input)
        .ok()
        .and_then(|text| text.parse().ok())
    else {
        return;
    };
    if let Err(refused) = Settings::load(None, table) {
        assert!(!refused.to_string().is_empty());
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let all = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/agent.toml"));
    let usual =
        b"segment = \"web\"\nkey_file = \"k\"\ninterface = \"eth0\"\ndata = \"d\"\nname = \"n\"\n";
    let classic = [usual.as_slice(), b"[timing]\nprofile = \"classic\"\n"].concat();
    let peers = [
        usual.as_slice(),
        b"[channel]\nport = 7767\npeers = [\"10.0.0.1:7767\"]\n",
    ]
    .concat();
    vec![all.to_vec(), usual.to_vec(), classic, peers]
}

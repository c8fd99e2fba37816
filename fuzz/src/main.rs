//! The engine's side: libFuzzer has the `main`, and asks for one target over and over.
//! `cargo xtask fuzz` builds it with the instruments that tell new paths from old ones.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
mod engine {
    use std::path::Path;
    use std::sync::LazyLock;

    use bellwether_fuzz::Target;

    static TARGET: LazyLock<&Target> = LazyLock::new(|| {
        let name = std::env::var("FUZZ_TARGET").expect("xtask names the target");
        Target::named(&name).expect("xtask knows the targets")
    });

    /// The engine reads its folders only after this.
    fn write_seeds() {
        let Some(folder) = std::env::var_os("FUZZ_SEEDS") else {
            return;
        };
        for (number, seed) in (TARGET.seeds)().iter().enumerate() {
            let file = Path::new(&folder).join(format!("seed-{number}"));
            std::fs::write(file, seed).expect("xtask made the folder");
        }
    }

    libfuzzer_sys::fuzz_target!(init: write_seeds(), |input: &[u8]| TARGET.check(input));
}

#[cfg(not(fuzzing))]
fn main() {
    eprintln!("built without the engine: use `cargo xtask fuzz TARGET`");
}

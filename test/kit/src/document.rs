//! The test vectors of `docs/formats.md` and `docs/mctp.md`, read from the documents themselves, so that text and
//! program cannot drift apart.

const DOCUMENTS: [&str; 2] = [
    include_str!("../../../docs/formats.md"),
    include_str!("../../../docs/mctp.md"),
];

/// The bytes of a fenced block: hexadecimal digits, and from `#` to the end of a line what they
/// mean.
pub fn vector(name: &str) -> Vec<u8> {
    let fence = format!("```vector {name}\n");
    let (_, rest) = DOCUMENTS
        .iter()
        .find_map(|document| document.split_once(&fence))
        .unwrap_or_else(|| panic!("no document has a vector {name}"));
    let (block, _) = rest.split_once("```").expect("the block ends");
    let digits: String = block
        .lines()
        .flat_map(|line| line.split('#').next())
        .flat_map(str::split_whitespace)
        .collect();
    let byte = |pair: &[u8]| {
        let pair = std::str::from_utf8(pair).expect("digits are ASCII");
        u8::from_str_radix(pair, 16).unwrap_or_else(|_| panic!("{name}: `{pair}` is no byte"))
    };
    digits.as_bytes().chunks(2).map(byte).collect()
}

/// Fails unless `written` is what the document says; and says what stands there instead.
pub fn same(name: &str, written: &[u8]) {
    let hex = |line: &[u8]| line.iter().map(|byte| format!("{byte:02x}")).collect();
    let lines: Vec<String> = written.chunks(32).map(hex).collect();
    assert!(
        vector(name) == written,
        "{name} is documented otherwise; this program writes\n{}",
        lines.join("\n")
    );
}

use bellwether_delta::*;
fn main() {
    let o = std::fs::read("/tmp/corpus-match/bin/old/site.db").unwrap();
    let n = std::fs::read("/tmp/corpus-match/bin/new/site.db").unwrap();
    let mut base = o[3024..3024 + 38800].to_vec();
    base.extend_from_slice(&o[1367920..1367920 + 7021698]);
    let new = &n[..8388608];
    // direct same-offset equality per 64k
    for c in (0..8388608).step_by(262144) {
        let eq = (c..c + 262144).filter(|&i| o[i] == n[i]).count();
        print!("{} ", eq * 100 / 262144);
    }
    println!();
    let m = match_segment(Effort::Fast, &base, new, &[]);
    let mut at = 0u32;
    for s in &m {
        if s.literal_len > 20000 {
            println!("lit {} at {}", s.literal_len, at);
        }
        at += s.literal_len;
        if s.len > 20000 {
            println!("match {} at {} from {}", s.len, at, s.base_start);
        }
        at += s.len;
    }
}

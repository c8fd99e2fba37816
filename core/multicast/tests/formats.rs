//! The repair symbols of `docs/mctp.md`.

use bellwether_kit::document::same;
use bellwether_multicast::{ErasureCode, Geometry, ReedSolomon};

/// A repair block of three symbols, the last one short, and the four repair symbols it has.
#[test]
fn repair_symbols_are_as_documented() {
    let geometry = Geometry::new(1, 160, 512, 64, 1, 4).unwrap();
    let shape = geometry.shape(1);
    assert_eq!((shape.symbols, shape.repairs), (3, 4));
    let content: Vec<u8> = (0..160).collect();
    let mut source = |symbol| {
        let place = geometry.place(1, symbol);
        &content[place.offset as usize..][..place.len as usize]
    };
    let repairs = ReedSolomon::default().encode(shape, &mut source).unwrap();
    same("repair symbols", &repairs);
}

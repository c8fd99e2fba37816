use reed_solomon_simd::{ReedSolomonDecoder, ReedSolomonEncoder};

use crate::geometry::Shape;

/// A systematic erasure code: of the symbols of a repair block and its repair symbols, any so many as the block has
/// symbols give all of them back.
///
/// It works on one repair block at a time, and costs enough to have a thread of its own; machines only say what is to be
/// coded.
pub trait ErasureCode {
    /// The repair symbols of a block, one after the other. `source` gives each symbol, at most as long as the shape says.
    fn encode<'s>(
        &mut self,
        shape: Shape,
        source: &mut dyn FnMut(u16) -> &'s [u8],
    ) -> Result<Vec<u8>, CodeError>;

    /// The symbols that are missing, by number, each of full length: a short one ends in zeros. `given` are symbols and,
    /// counted on from the last of them, repair symbols.
    fn decode(
        &mut self,
        shape: Shape,
        given: &mut dyn Iterator<Item = (u16, &[u8])>,
    ) -> Result<Vec<(u16, Vec<u8>)>, CodeError>;
}

/// Symbols that cannot be coded.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("these symbols cannot be coded")]
pub struct CodeError(#[from] reed_solomon_simd::Error);

/// Reed-Solomon over GF(2^16) by additive FFT (Leopard), as `reed-solomon-simd` has it. Its buffers are kept from block
/// to block.
///
/// RaptorQ was measured beside it: it has repair symbols without end, and encodes and decodes at a fraction of the speed.
#[derive(Default)]
pub struct ReedSolomon {
    encoder: Option<ReedSolomonEncoder>,
    decoder: Option<ReedSolomonDecoder>,
    padded: Vec<u8>,
}

impl ErasureCode for ReedSolomon {
    fn encode<'s>(
        &mut self,
        shape: Shape,
        source: &mut dyn FnMut(u16) -> &'s [u8],
    ) -> Result<Vec<u8>, CodeError> {
        let (symbols, repairs, len) = shape.counts();
        let encoder = match &mut self.encoder {
            Some(encoder) => {
                encoder.reset(symbols, repairs, len)?;
                encoder
            }
            none => none.insert(ReedSolomonEncoder::new(symbols, repairs, len)?),
        };
        for symbol in 0..shape.symbols {
            encoder.add_original_shard(pad(&mut self.padded, source(symbol), len))?;
        }
        let encoded = encoder.encode()?;
        Ok(encoded.recovery_iter().flatten().copied().collect())
    }

    fn decode(
        &mut self,
        shape: Shape,
        given: &mut dyn Iterator<Item = (u16, &[u8])>,
    ) -> Result<Vec<(u16, Vec<u8>)>, CodeError> {
        let (symbols, repairs, len) = shape.counts();
        let decoder = match &mut self.decoder {
            Some(decoder) => {
                decoder.reset(symbols, repairs, len)?;
                decoder
            }
            none => none.insert(ReedSolomonDecoder::new(symbols, repairs, len)?),
        };
        for (symbol, bytes) in given {
            let bytes = pad(&mut self.padded, bytes, len);
            match symbol.checked_sub(shape.symbols) {
                None => decoder.add_original_shard(symbol.into(), bytes)?,
                Some(repair) => decoder.add_recovery_shard(repair.into(), bytes)?,
            }
        }
        let decoded = decoder.decode()?;
        let restored = decoded.restored_original_iter();
        Ok(restored
            .map(|(symbol, bytes)| (symbol as u16, bytes.to_vec()))
            .collect())
    }
}

impl Shape {
    fn counts(self) -> (usize, usize, usize) {
        (
            self.symbols.into(),
            self.repairs.into(),
            self.symbol_len.into(),
        )
    }
}

fn pad<'p>(padded: &'p mut Vec<u8>, symbol: &'p [u8], len: usize) -> &'p [u8] {
    if symbol.len() == len {
        return symbol;
    }
    padded.clear();
    padded.extend_from_slice(symbol);
    padded.resize(len, 0);
    padded
}

impl std::fmt::Debug for ReedSolomon {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReedSolomon").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        /// Whatever is lost, as many repair symbols mend it, and they need not be the first ones.
        #[test]
        fn any_symbols_that_are_enough_give_the_block_back(
            symbols in 1_u16..200,
            repairs in 1_u16..80,
            lost in 0_usize..80,
            seed in any::<u64>(),
        ) {
            let shape = Shape { symbols, repairs, symbol_len: 64 };
            let mut random = bellwether_machine::Random::new(seed);
            let mut content: Vec<Vec<u8>> = (0..symbols)
                .map(|_| (0..64).map(|_| random.bits() as u8).collect())
                .collect();
            content.last_mut().unwrap().truncate(7);
            let mut code = ReedSolomon::default();
            let mended = code.encode(shape, &mut |symbol| &content[usize::from(symbol)]).unwrap();
            prop_assert_eq!(mended.len(), usize::from(repairs) * 64);
            let lost = lost.min(usize::from(symbols.min(repairs)));
            let mut pick = |count: u16, many: usize| {
                let mut all: Vec<u16> = (0..count).collect();
                for at in 0..many {
                    let other = at + random.below((all.len() - at) as u64) as usize;
                    all.swap(at, other);
                }
                all.truncate(many);
                all
            };
            let missing = pick(symbols, lost);
            let used = pick(repairs, lost);
            let kept = (0..symbols).filter(|symbol| !missing.contains(symbol));
            let kept = kept.map(|symbol| (symbol, &content[usize::from(symbol)][..]));
            let used = used.iter().map(|repair| {
                let at = usize::from(*repair) * 64;
                (symbols + repair, &mended[at..at + 64])
            });
            let restored = code.decode(shape, &mut kept.chain(used)).unwrap();
            prop_assert_eq!(restored.len(), lost);
            for (symbol, mut bytes) in restored {
                bytes.truncate(content[usize::from(symbol)].len());
                prop_assert_eq!(&bytes, &content[usize::from(symbol)]);
            }
        }
    }
}

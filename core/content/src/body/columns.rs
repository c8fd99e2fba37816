//! Columns of numbers and texts, each a run of bytes of its own.

/// Why a column cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ColumnError {
    /// It ends too early.
    #[error("a column ends too early")]
    Truncated,
    /// A number has more than 64 bits.
    #[error("a number is too long")]
    Number,
    /// Something is left at its end.
    #[error("a column has bytes left over")]
    LeftOver,
    /// A name is not UTF-8.
    #[error("a user or group name is not UTF-8")]
    NotText,
}

/// A column being written.
#[derive(Default)]
pub(super) struct Column(Vec<u8>);

/// A column being read.
pub(super) struct Rest<'b>(&'b [u8]);

/// Declares the columns once, in the order in which they stand, for writer and reader.
macro_rules! columns {
    ($($name:ident),*) => {
        #[derive(Default)]
        pub(super) struct Writer {
            pub(super) operations: Vec<u8>,
            $(pub(super) $name: Column,)*
        }

        pub(super) struct Reader<'b> {
            pub(super) operations: &'b [u8],
            $(pub(super) $name: Rest<'b>,)*
        }

        impl Writer {
            pub(super) fn finish(self) -> Vec<u8> {
                let mut body = Column::default();
                body.text(&self.operations);
                $(body.text(&self.$name.0);)*
                body.0
            }
        }

        impl<'b> Reader<'b> {
            pub(super) fn new(bytes: &'b [u8]) -> Result<Self, ColumnError> {
                let mut body = Rest(bytes);
                let reader = Self {
                    operations: body.text()?,
                    $($name: Rest(body.text()?),)*
                };
                body.finish()?;
                Ok(reader)
            }

            pub(super) fn finish(self) -> Result<(), ColumnError> {
                $(self.$name.finish()?;)*
                Ok(())
            }
        }
    };
}

columns!(
    places,
    prefixes,
    names,
    bases,
    modes,
    owners,
    owner_numbers,
    sizes,
    seconds,
    nanoseconds,
    targets
);

impl Column {
    pub(super) fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    /// A difference, taken modulo 2^64.
    pub(super) fn signed(&mut self, value: i64) {
        self.number(zigzag(value));
    }

    pub(super) fn text(&mut self, text: &[u8]) {
        self.number(text.len() as u64);
        self.0.extend_from_slice(text);
    }
}

impl<'b> Rest<'b> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn number(&mut self) -> Result<u64, ColumnError> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first().ok_or(ColumnError::Truncated)?;
            self.0 = rest;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return Err(ColumnError::Number);
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(ColumnError::Number)
    }

    pub(super) fn signed(&mut self) -> Result<i64, ColumnError> {
        self.number().map(unzigzag)
    }

    pub(super) fn text(&mut self) -> Result<&'b [u8], ColumnError> {
        let len = usize::try_from(self.number()?).map_err(|_| ColumnError::Truncated)?;
        let (text, rest) = self.0.split_at_checked(len).ok_or(ColumnError::Truncated)?;
        self.0 = rest;
        Ok(text)
    }

    fn finish(self) -> Result<(), ColumnError> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(ColumnError::LeftOver)
        }
    }
}

/// Small numbers of either sign as small numbers.
pub(super) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// The inverse of [`zigzag`].
pub(super) fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

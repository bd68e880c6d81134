-- What a row may say besides the address. Rows that are there keep working: weight 1, enabled.
ALTER TABLE workers ADD COLUMN IF NOT EXISTS name VARCHAR(100);
ALTER TABLE workers ADD COLUMN IF NOT EXISTS weight INTEGER NOT NULL DEFAULT 1 CHECK (weight BETWEEN 1 AND 65535);
ALTER TABLE workers ADD COLUMN IF NOT EXISTS enabled BOOLEAN NOT NULL DEFAULT TRUE;

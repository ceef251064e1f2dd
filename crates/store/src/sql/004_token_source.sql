-- Who counted a request's tokens: 'usage', 'tokenizer' or 'server-tokenize'; NULL for a failure, and where nobody did. Every
-- completion that was read in before was counted by the server.
ALTER TABLE request ADD COLUMN token_source TEXT;
UPDATE request SET token_source = 'usage' WHERE outcome = 'completed';

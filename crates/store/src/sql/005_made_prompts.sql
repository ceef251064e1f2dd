-- Prompts that were made for servers belong to no task, and nobody may have counted them: task, bucket and prompt_tokens are
-- NULL then.
CREATE TABLE prompt_of_run (
    run_id TEXT NOT NULL REFERENCES run (id) ON DELETE CASCADE,
    id TEXT NOT NULL,
    prompt_set TEXT NOT NULL,
    filler INTEGER NOT NULL CHECK (filler IN (0, 1)),
    task TEXT,
    bucket TEXT,
    prompt_tokens INTEGER,
    max_new_tokens INTEGER NOT NULL,
    PRIMARY KEY (run_id, id)
) STRICT, WITHOUT ROWID;
INSERT INTO prompt_of_run SELECT * FROM prompt;
DROP TABLE prompt;
ALTER TABLE prompt_of_run RENAME TO prompt;

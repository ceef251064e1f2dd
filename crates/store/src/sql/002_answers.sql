-- Whether the prompt's known answer is contained in the text, as `analysis` found while ingesting; NULL where the run kept no
-- text or no answer is known. The text itself stays in the run's traces.
ALTER TABLE request ADD COLUMN answer_found INTEGER CHECK (answer_found IN (0, 1));

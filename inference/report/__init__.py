"""From retrieved findings to the report: prompt, schema, language model."""

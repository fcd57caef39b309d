"""What drafted reports are worth: territory, unsupported and omitted statements, wording, beside baselines."""

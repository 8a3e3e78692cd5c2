"""The default judge: rules about language, one file for each question they answer."""
